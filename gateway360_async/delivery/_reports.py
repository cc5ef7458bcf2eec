"""Delivery reports as values: what became of an SMS, and what is wrong with a report that cannot be read.

Rules of this module:

- The set of statuses is open: one that is not listed here stays a plain `str`, and nothing breaks.
- The dates have no time zone, because none is published. They stay naive, and are compared with each other only.
- A `repr` masks the number and leaves out the reference. No text of an error holds a part of what was posted.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

from .._exceptions import Gateway360Error
from .._redaction import mask_msisdn

__all__ = ["DeliveryReport", "DeliveryStatus", "InvalidReports", "ReportProblem"]


class DeliveryStatus(StrEnum):
    """What became of an SMS (the gateway's page on delivery reports, and what is seen in the field)."""

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


_BY_VALUE: Final = {member.value: member for member in DeliveryStatus}
_FINAL: Final = frozenset(
    {
        DeliveryStatus.DELIVRD,
        DeliveryStatus.EXPIRED,
        DeliveryStatus.DELETED,
        DeliveryStatus.UNDELIV,
        DeliveryStatus.REJECTD,
    }
)


def _known_status(value: DeliveryStatus | str) -> DeliveryStatus | str:
    return _BY_VALUE.get(value, value)


@attrs.frozen(kw_only=True)
class DeliveryReport:
    """What the gateway reports of one SMS. A `repr` masks the number and leaves out the reference.

    Args:
        sms_id: The message's id.
        msisdn: The number that it went to, digits only.
        status: A `DeliveryStatus`, or a plain `str` where it is none that is known. The value of a known one
            becomes it.
        sender: The sender; `None`: the report does not say.
        custom: The caller's reference. A PIN request has none, so it is `None` or whatever the gateway fills in.
        sms_date: When it was sent. Naive: no time zone is published. `None`: the report does not say, or not readably.
        dlr_date: When that status was reached. Likewise.
        report_id: The request that it is about, as its result's `report_id` has it. Set by
            `DeliveryReports.receive`; `None` where a body was only parsed.
        superseded: Whether one that came before says more, as a `DELIVRD` does than an `ACCEPTD` that comes late.
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
        """Whether no other status is to follow. A status that is not known, or `UNKNOWN`, is not final."""
        return self.status in _FINAL

    def supersedes(self, other: DeliveryReport) -> bool:
        """Whether this report, come after another about the same request, says more than that one.

        A final one stands against a temporary one, whichever came first: they can overtake each other. Of two
        alike the later `dlr_date` counts, and where that says nothing, the one that came later, which is this.
        """
        if self.final is not other.final:
            return self.final
        if self.dlr_date is None or other.dlr_date is None:
            return True
        return self.dlr_date >= other.dlr_date


@attrs.frozen
class ReportProblem:
    """What is wrong with one report of a body, or with the body.

    Args:
        index: The report's place in the array, from 0; `None`: the body itself.
        field: The field as the gateway spells it, such as `"to"`; `None`: the report itself.
        problem: What is wrong, without the value.
        expected: What would be right.
    """

    index: int | None
    field: str | None
    problem: str
    expected: str

    def __str__(self) -> str:
        where = "the body" if self.index is None else f"report {self.index}"
        if self.field is not None:
            where += f", {self.field}"
        return f"{where}: {self.problem}; expected {self.expected}"


class InvalidReports(Gateway360Error, ValueError):
    """A body, or some of its reports, cannot be read. Those that can be are not lost.

    Attributes:
        reports: The reports that are right. From `DeliveryReports.receive`: those that were taken.
        problems: What is wrong with the others, one `ReportProblem` each.
    """

    _SHOWN: Final = 3

    def __init__(self, reports: list[DeliveryReport], problems: list[ReportProblem]) -> None:
        super().__init__(reports, problems)
        self.reports = reports
        self.problems = problems

    def __str__(self) -> str:
        shown = "; ".join(map(str, self.problems[: self._SHOWN]))
        more = len(self.problems) - self._SHOWN
        return shown if more <= 0 else f"{shown}; and {more} more"
