"""The JSON that the gateway posts, read report by report, and written again.

Rules of this module:

- Nothing that was posted is trusted. The JSON is read as strictly as an answer's (`_json`): an array of at most
  1,000 reports, in at most 1 MiB.
- One bad report does not lose its neighbours: all are read, then what was wrong is raised with those that were
  right.
- No text that is made here holds a part of what was posted, nor do the frames below what is raised.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, cast

from .._json import UnreadableError, read_json
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
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)

_EXPECTED: Final = {
    "sms_id": f"the message's id, 1 to {_MAX_TEXT} printable characters",
    "from": "a string, or nothing",
    "to": "the number as a string of 7 to 15 digits, with its country calling code",
    "custom": "a string, or nothing",
    "sms_date": "'YYYY-MM-DD HH:MM:SS', or nothing",
    "dlr_date": "'YYYY-MM-DD HH:MM:SS', or nothing",
    "status": f"a status such as 'DELIVRD', 1 to {_MAX_TEXT} printable characters",
}


def parse_delivery_reports(body: bytes | str) -> list[DeliveryReport]:
    """Read the body of the gateway's POST.

    It says nothing of who posted it: that is `DeliveryReports.receive`'s matter.

    Args:
        body: The body as it was received: a JSON array of at most 1,000 reports, at most 1 MiB.

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
            sender=_optional(fields, "from"),
            custom=_optional(fields, "custom"),
            sms_date=_date(fields, "sms_date"),
            dlr_date=_date(fields, "dlr_date"),
        )
    except _FieldError as exc:
        field, problem = exc.args
        return ReportProblem(index, field, problem, _EXPECTED[field])


def _optional(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _FieldError(name, f"is {_kind(value)}")
    # A lone surrogate (an escape such as \ud800) would break whatever prints or stores the text.
    return value.encode("utf-8", "replace").decode()


def _mandatory(fields: dict[str, Any], name: str) -> str:
    value = _optional(fields, name)
    if value is None:
        raise _FieldError(name, "is missing or empty")
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


def _date(fields: dict[str, Any], name: str) -> datetime | None:
    value = _optional(fields, name)
    if value is None:
        return None
    try:
        if _DATE.fullmatch(value):
            # Naive on purpose: no time zone is published, and one that is made up would be wrong somewhere.
            return datetime.fromisoformat(value)
    except ValueError:
        pass  # the form of a date, but not one of the calendar's
    raise _FieldError(name, "is not a date of that form")


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
