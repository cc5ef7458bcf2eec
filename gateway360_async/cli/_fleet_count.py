"""The closing count of a fleet: what its follower was told, laid beside what the gateway sent.

Rules of this module:

- Pure: from what was counted to what is said.
- It takes nobody's word: an `Ok` has to have its SMS, "not sent" has to have none, and no number has two,
  whoever sent them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from gateway360_async import BatchItem, Disposition, Skipped
from gateway360_async._secret import mask_msisdn

__all__ = ["Account", "Closing"]

_SHOWN: Final = 5
"""Numbers that are named of each thing that is wrong."""


@attrs.frozen
class Closing:
    """The closing count.

    Args:
        entries: Entries that there were.
        by_disposition: Entries by what was said of their SMS; those that were skipped are not sent.
        skipped: Entries that were skipped, for a number that is there twice, say.
        sms: SMS that the gateway sent.
        of_maybe_sent: How many of those that may have been sent have one.
        most: The most SMS that any number has.
        problems: What should not be, a line each.
    """

    entries: int
    by_disposition: Counter[Disposition]
    skipped: int
    sms: int
    of_maybe_sent: int
    most: int
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether no number has two SMS, and every entry is accounted for."""
        return not self.problems


class Account:
    """Takes down what the follower is told of each entry."""

    def __init__(self) -> None:
        self._said: dict[str, Disposition] = {}
        self._by_disposition: Counter[Disposition] = Counter()
        self._seen: set[int] = set()
        self._skipped = 0
        self._twice: list[int] = []
        self._again: list[str] = []

    def add(self, item: BatchItem) -> None:
        """Take down one entry."""
        if item.index in self._seen:
            self._twice.append(item.index)
        self._seen.add(item.index)
        self._by_disposition[item.result.disposition] += 1
        if isinstance(item.result, Skipped) or item.request is None:
            self._skipped += 1
            return
        number = item.request.msisdn
        if number in self._said:
            self._again.append(number)
        self._said[number] = item.result.disposition

    def close(self, entries: int, sms: Mapping[str, int]) -> Closing:
        """Lay it beside the SMS by their number.

        Args:
            entries: Entries that there were.
            sms: How many SMS the gateway sent to each number.
        """
        said = self._said
        wrong = {
            "entries of which nothing was said": [
                f"entry {index}" for index in range(entries) if index not in self._seen
            ],
            "entries of which it was said twice": [f"entry {index}" for index in self._twice],
            "numbers with two entries that were not skipped": _masked(self._again),
            "numbers with more than one SMS": _masked(number for number, count in sms.items() if count > 1),
            "numbers with an SMS that nobody asked for": _masked(
                number for number in sms if number not in said
            ),
            "numbers that are said to be sent, without an SMS": _masked(
                number
                for number, disposition in said.items()
                if disposition is Disposition.SENT and not sms.get(number)
            ),
            "numbers that are said to be not sent, with an SMS": _masked(
                number
                for number, disposition in said.items()
                if disposition is Disposition.NOT_SENT and sms.get(number)
            ),
        }
        return Closing(
            entries=entries,
            by_disposition=self._by_disposition.copy(),
            skipped=self._skipped,
            sms=sum(sms.values()),
            of_maybe_sent=sum(
                sms.get(number, 0)
                for number, disposition in said.items()
                if disposition is Disposition.MAYBE_SENT
            ),
            most=max(sms.values(), default=0),
            problems=tuple(_line(what, names) for what, names in wrong.items() if names),
        )


def _masked(numbers: Iterable[str]) -> list[str]:
    return [mask_msisdn(number) for number in numbers]


def _line(what: str, names: list[str]) -> str:
    more = ", …" if len(names) > _SHOWN else ""
    return f"{len(names):,} {what}: {', '.join(names[:_SHOWN])}{more}"
