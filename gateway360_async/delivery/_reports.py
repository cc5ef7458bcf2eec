"""Delivery reports as values, read from the gateway's JSON and written again.

- The set of statuses is open: an unknown one stays a plain `str`.
- The dates have no time zone, because none is published. They are compared with each other only.
- Nothing that was posted is trusted: the JSON is read as strictly as an answer's (`_operations`). `sms_id`, `to` and
  `status` make a report; any other field is text, a date, or `None`. A bad report does not lose its neighbours.
- No error's text, and no frame below it, holds a part of the body. A `repr` masks the number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, cast

import attrs

from .._exceptions import Gateway360Error, InvalidRequest
from .._operations import UnreadableError, read_json
from .._redaction import mask_msisdn

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_REPORTS",
    "DeliveryReport",
    "DeliveryStatus",
    "InvalidReports",
    "ReportProblem",
    "digits_of",
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
_MSISDN: Final = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})", re.ASCII)
_EXPECTED: Final = {
    "sms_id": f"the message's id, 1 to {_MAX_TEXT} printable characters",
    "to": "the number in 7 to 15 digits, with its country calling code",
    "status": f"a status such as 'DELIVRD', 1 to {_MAX_TEXT} printable characters",
}
_ATTRIBUTES: Final = {
    "sms_id": "sms_id",
    "from": "sender",
    "to": "msisdn",
    "custom": "custom",
    "sms_date": "sms_date",
    "dlr_date": "dlr_date",
    "status": "status",
}
"""A report's attributes by the gateway's names."""

_JSON_TYPES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class DeliveryStatus(StrEnum):
    """The fate of an SMS, as the gateway publishes it and as it is in the field."""

    DELIVRD = "DELIVRD"
    """Delivered."""

    ACCEPTD = "ACCEPTD"
    """Accepted by the operator: for now, another report follows."""

    EXPIRED = "EXPIRED"
    """Its validity ended, by default after 48 hours."""

    DELETED = "DELETED"
    """Deleted by the operator."""

    UNDELIV = "UNDELIV"
    """Not delivered."""

    REJECTD = "REJECTD"
    """Rejected. Not published, but seen."""

    UNKNOWN = "UNKNOWN"
    """The operator does not say. Not published, but seen."""


_TEMPORARY: Final = frozenset({DeliveryStatus.ACCEPTD, DeliveryStatus.UNKNOWN})


def _known_status(value: DeliveryStatus | str) -> DeliveryStatus | str:
    return DeliveryStatus.__members__.get(value, value)


@attrs.frozen(kw_only=True)
class DeliveryReport:
    """The gateway's report of one SMS.

    A `repr` masks the number and leaves out the reference.

    Args:
        sms_id: The message's id.
        msisdn: The number that it went to, digits only.
        status: A `DeliveryStatus`, or a plain `str` if it is unknown. The value of a known one becomes it.
        sender: The sender; `None`: the report does not say.
        custom: The caller's reference. A PIN request has none, so it is `None` or whatever the gateway fills in.
        sms_date: When it was sent. Naive: no time zone is published. `None`: the report does not say, or not readably.
        dlr_date: When that status was reached. Likewise.
        report_id: The id of the request that it is about, as its result's `report_id` has it. Set by
            `DeliveryReports.receive`; `None` if a body was only parsed.
        superseded: Whether an earlier report says more, as a `DELIVRD` does than an `ACCEPTD` that comes late.
            Set by `DeliveryReports.receive`.
    """

    sms_id: str
    msisdn: str = attrs.field(repr=lambda value: repr(mask_msisdn(value)))
    status: DeliveryStatus | str = attrs.field(converter=_known_status, repr=lambda value: repr(str(value)))
    sender: str | None = None
    custom: str | None = attrs.field(default=None, repr=False)
    sms_date: datetime | None = attrs.field(default=None, repr=str)
    dlr_date: datetime | None = attrs.field(default=None, repr=str)
    report_id: str | None = None
    superseded: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the SMS was delivered."""
        return self.status == DeliveryStatus.DELIVRD

    @property
    def final(self) -> bool:
        """Whether no other status is to follow; not after `UNKNOWN` or an unlisted one."""
        return isinstance(self.status, DeliveryStatus) and self.status not in _TEMPORARY

    def supersedes(self, other: DeliveryReport) -> bool:
        """Tell whether this report says more than an earlier one of the same request.

        A final one stands against a temporary one, whichever came first: they can overtake each other. Of two
        alike the later `dlr_date` counts, and if that says nothing, the one that came later, which is this.
        """
        if self.final is not other.final:
            return self.final
        if self.dlr_date is None or other.dlr_date is None:
            return True
        return self.dlr_date >= other.dlr_date


@attrs.frozen
class ReportProblem:
    """A fault of one report of a body, or of the body.

    Args:
        index: The report's place in the array, from 0; `None`: the body itself.
        field: The field as the gateway spells it, such as `"to"`; `None`: the report itself.
        problem: The fault, without the value.
        expected: The right form.
    """

    index: int | None
    field: str | None
    problem: str
    expected: str

    def __str__(self) -> str:
        place = "the body" if self.index is None else f"report {self.index}"
        if self.field is not None:
            place += f", {self.field}"
        return f"{place}: {self.problem}; expected {self.expected}"


class InvalidReports(Gateway360Error, ValueError):
    """A body, or some of its reports, cannot be read. Those that can be are not lost.

    Attributes:
        reports: The reports that are right. From `DeliveryReports.receive`: those that were taken.
        problems: The faults of the others, one `ReportProblem` each.
    """

    def __init__(self, reports: list[DeliveryReport], problems: list[ReportProblem]) -> None:
        super().__init__(reports, problems)
        self.reports = reports
        self.problems = problems

    def __str__(self) -> str:
        more = len(self.problems) - 3
        return "; ".join([*map(str, self.problems[:3]), *([f"and {more} more"] if more > 0 else [])])


def digits_of(number: str) -> str | None:
    """Return an international number without its `+` or `00`; `None`: it is none."""
    match = _MSISDN.fullmatch(number)
    return None if match is None else match[1]


def parse_delivery_reports(body: bytes | str) -> list[DeliveryReport]:
    """Read the body of the gateway's POST.

    It does not check that the gateway posted it: `DeliveryReports.receive` does.

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
    """Read a body: its reports, and the faults of those that are malformed."""
    try:
        items = _read_items(body)
    except UnreadableError as exc:
        expected = f"a JSON array of at most {MAX_REPORTS} reports"
        return [], [ReportProblem(None, None, str(exc), expected)]
    reports: list[DeliveryReport] = []
    problems: list[ReportProblem] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            problems.append(ReportProblem(index, None, f"is {_JSON_TYPES[type(item)]}", "a JSON object"))
            continue
        try:
            reports.append(_read_report(cast("dict[str, Any]", item)))
        except InvalidRequest as exc:
            problems.append(ReportProblem(index, exc.field, exc.problem, exc.expected))
    return reports, problems


def _read_items(body: bytes | str) -> list[object]:
    try:
        raw = body.encode() if isinstance(body, str) else body
    except UnicodeEncodeError:
        raise UnreadableError("the body is not Unicode") from None
    document = read_json(raw, max_bytes=MAX_BODY_BYTES)
    if isinstance(document, dict):
        return [document]  # as some callbacks come in the field
    if not isinstance(document, list):
        raise UnreadableError(f"the JSON is {_JSON_TYPES[type(document)]}")
    items = cast("list[object]", document)
    if len(items) > MAX_REPORTS:
        raise UnreadableError(f"it holds {len(items)} reports")
    return items


def _read_report(fields: dict[str, Any]) -> DeliveryReport:
    sms_id = _mandatory(fields, "sms_id")
    msisdn = digits_of(_mandatory(fields, "to"))
    if msisdn is None:
        raise InvalidRequest("to", "is not an international number", _EXPECTED["to"])
    return DeliveryReport(
        sms_id=sms_id,
        msisdn=msisdn,
        status=_mandatory(fields, "status"),
        sender=_text(fields.get("from")),
        custom=_text(fields.get("custom")),
        sms_date=_date(fields.get("sms_date")),
        dlr_date=_date(fields.get("dlr_date")),
    )


def _mandatory(fields: dict[str, Any], name: str) -> str:
    given = fields.get(name)
    value = _text(given.strip() if name == "to" and isinstance(given, str) else given)
    if value is None:
        missing = given is None or isinstance(given, str)
        problem = "is missing or empty" if missing else f"is {_JSON_TYPES[type(given)]}"
    elif len(value) > _MAX_TEXT:
        problem = f"has {len(value)} characters"
    elif not value.isprintable():
        problem = "holds a character that cannot be printed"
    else:
        return value
    raise InvalidRequest(name, problem, _EXPECTED[name])


def _text(value: object) -> str | None:
    """Read a text, or a number in place of one; `None`: it is neither, or empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    # A lone surrogate (an escape such as \ud800) would break whatever prints or stores the text.
    return value.encode("utf-8", "replace").decode() or None


def _date(value: object) -> datetime | None:
    """Read a date as it is published, or one of ISO 8601; `None`: it is neither.

    Naive on purpose: no time zone is published, and one that is made up would be wrong somewhere. A date that has
    one becomes UTC, so that two of them compare.
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


def dump_delivery_reports(reports: Iterable[DeliveryReport]) -> bytes:
    """Write reports as the gateway posts them, for a store of your own or for a test.

    `parse_delivery_reports` reads it back, all but the `report_id`, which is no part of a report.
    """
    written = [
        {name: getattr(report, attribute) for name, attribute in _ATTRIBUTES.items()} for report in reports
    ]
    return json.dumps(written, separators=(",", ":"), default=_written_date).encode("ascii")


def _written_date(value: datetime) -> str:
    # Not `strftime`: how many digits that gives a year before 1000 depends on the platform.
    return value.isoformat(" ", "seconds")
