"""The JSON that the gateway posts, read report by report, and written again.

Rules of this module:

- Nothing that was posted is trusted. The JSON is read as strictly as an answer's (`_operations`): an array of at most
  1,000 reports, or one report, in at most 1 MiB.
- `sms_id`, `to` and `status` make a report. Nothing else costs one its effect: it is text, a date, or `None`.
- One bad report does not lose its neighbours: all are read, then what was wrong is raised with those that were
  right.
- No text that is made here holds a part of what was posted, nor do the frames below what is raised.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, cast

from .._operations import UnreadableError, read_json
from ._reports import DeliveryReport, InvalidReports, ReportProblem
from ._urls import normalised

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_REPORTS",
    "dump_delivery_reports",
    "parse_delivery_reports",
    "read_reports",
]

MAX_REPORTS: Final = 1000
"""Reports that a body may have, as the gateway publishes it."""

MAX_BODY_BYTES: Final = 1024 * 1024
"""Bytes that a body may have. A thousand reports as they are published have about a fifth of it."""

_MAX_TEXT: Final = 128  # characters of an id or a status; those that are published have 32 at most
_MAX_DATE: Final = 40  # characters: a date of ISO 8601 with a zone and fractions of a second has 32

_EXPECTED: Final = {
    "sms_id": f"the message's id, 1 to {_MAX_TEXT} printable characters",
    "to": "the number in 7 to 15 digits, with its country calling code",
    "status": f"a status such as 'DELIVRD', 1 to {_MAX_TEXT} printable characters",
}


def parse_delivery_reports(body: bytes | str) -> list[DeliveryReport]:
    """Read the body of the gateway's POST.

    It says nothing of who posted it: that is `DeliveryReports.receive`'s matter.

    Args:
        body: The body as it was received: a JSON array of at most 1,000 reports, or one report; at most 1 MiB.

    Returns:
        The reports, in the body's order.

    Raises:
        InvalidReports: The body or some of its reports are malformed. The others are in `.reports`.
    """
    reports, problems = read_reports(body)
    del body  # or it would be in the frame of what is raised
    if problems:
        raise InvalidReports(reports, problems)
    return reports


def read_reports(body: bytes | str) -> tuple[list[DeliveryReport], list[ReportProblem]]:
    """Read the body of the gateway's POST: what is right, and what is wrong with the rest. Never raises."""
    expected = f"a JSON array of at most {MAX_REPORTS} reports"
    try:
        raw = body.encode() if isinstance(body, str) else body
        document: Any = read_json(raw, max_bytes=MAX_BODY_BYTES)
    except UnicodeEncodeError:
        return [], [ReportProblem(None, None, "the body is not Unicode", expected)]
    except UnreadableError as exc:
        return [], [ReportProblem(None, None, str(exc), expected)]
    if isinstance(document, dict):
        document = [document]  # as some callbacks come in the field
    if not isinstance(document, list):
        problem = f"the JSON is {_kind(document)}"
        return [], [ReportProblem(None, None, problem, expected)]
    items = cast("list[object]", document)
    if len(items) > MAX_REPORTS:
        return [], [ReportProblem(None, None, f"it holds {len(items)} reports", expected)]
    reports: list[DeliveryReport] = []
    problems: list[ReportProblem] = []
    for index, item in enumerate(items):
        report = _read_report(index, item)
        if isinstance(report, DeliveryReport):
            reports.append(report)
        else:
            problems.append(report)
    return reports, problems


class _FieldError(ValueError):
    """A field is wrong: its name, and what is wrong with it."""


def _read_report(index: int, item: object) -> DeliveryReport | ReportProblem:
    if not isinstance(item, dict):
        return ReportProblem(index, None, f"is {_kind(item)}", "a JSON object")
    fields = cast("dict[str, Any]", item)
    try:
        return DeliveryReport(
            sms_id=_mandatory(fields, "sms_id"),
            msisdn=_number(fields),
            status=_mandatory(fields, "status"),
            sender=_text(fields.get("from")),
            custom=_text(fields.get("custom")),
            sms_date=_date(fields.get("sms_date")),
            dlr_date=_date(fields.get("dlr_date")),
        )
    except _FieldError as exc:
        field, problem = exc.args
        return ReportProblem(index, field, problem, _EXPECTED[field])


def _text(value: object) -> str | None:
    """Read a text, or a number where a text is published; `None`: it is neither, or empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    # A lone surrogate (an escape such as \ud800) would break whatever prints or stores the text.
    return value.encode("utf-8", "replace").decode() or None


def _mandatory(fields: dict[str, Any], name: str) -> str:
    given = fields.get(name)
    value = _text(given.strip() if name == "to" and isinstance(given, str) else given)
    if value is None:
        missing = given is None or isinstance(given, str)
        raise _FieldError(name, "is missing or empty" if missing else f"is {_kind(given)}")
    if len(value) > _MAX_TEXT:
        raise _FieldError(name, f"has {len(value)} characters")
    if not value.isprintable():
        raise _FieldError(name, "holds a character that cannot be printed")
    return value


def _number(fields: dict[str, Any]) -> str:
    digits = normalised(_mandatory(fields, "to"))
    if digits is None:
        raise _FieldError("to", "is not an international number")
    return digits


def _date(value: object) -> datetime | None:
    """Read a date as it is published, or one of ISO 8601; `None`: it is neither, as `0000-00-00 00:00:00`.

    Naive on purpose: no time zone is published, and one that is made up would be wrong somewhere. A date that has
    one is given in UTC, so that two of them compare.
    """
    if not isinstance(value, str) or len(value) > _MAX_DATE:
        return None
    try:
        date = datetime.fromisoformat(value.strip())
        if date.tzinfo is not None:
            date = date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=None, microsecond=0)


def _kind(value: object) -> str:
    """Name the type of a JSON value, as people who read JSON call it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def dump_delivery_reports(reports: Iterable[DeliveryReport]) -> bytes:
    """Write reports as the gateway posts them, for a store of your own or for a test.

    `parse_delivery_reports` reads it back, all but the `report_id`, which is no part of a report.
    """
    return json.dumps([_written(report) for report in reports], separators=(",", ":")).encode("ascii")


def _written(report: DeliveryReport) -> dict[str, str | None]:
    return {
        "sms_id": report.sms_id,
        "from": report.sender,
        "to": report.msisdn,
        "custom": report.custom,
        "sms_date": _written_date(report.sms_date),
        "dlr_date": _written_date(report.dlr_date),
        "status": str(report.status),
    }


def _written_date(value: datetime | None) -> str | None:
    # Not `strftime`: how many digits that gives a year before 1000 depends on the platform.
    return None if value is None else value.isoformat(" ", "seconds")
