"""The entries that somebody should look at: a few of each kind, with their numbers masked."""

from __future__ import annotations

import re
from typing import Final

import attrs

from gateway360_async import ApiError, BatchResult, Ok, Skipped, TransportFailure
from gateway360_async._redaction import mask_msisdn

from ._stats import Fate, fate_of, why

__all__ = ["Notable", "NotableEntry", "masked", "masked_digits"]

_KEPT: Final = 20
_DIGITS: Final = re.compile(r"\d{7,}")
_NUMBER: Final = re.compile(r"\+?\d(?:[\s.()/_\-\u2010-\u2015\u2212]{0,3}\d){6,}")
"""A number as people write it: `34 666 666 005`, `34-666-666-005`, `(+34)666.666.005`."""


def masked(text: str) -> str:
    """Mask whatever may be a phone number in a text: seven digits and more, and what separates them.

    For what came from outside. A date or an address is masked as well, so what we say ourselves stays out of it.
    """
    return _NUMBER.sub(lambda match: mask_msisdn(re.sub(r"\D", "", match[0])), text)


def masked_digits(text: str) -> str:
    """Mask seven digits and more in a row: for a URL, whose address is no phone number."""
    return _DIGITS.sub(lambda match: mask_msisdn(match[0]), text)


@attrs.frozen
class NotableEntry:
    """An entry that may have been sent, or was not.

    Args:
        line: Its line in the input.
        number: Its number, masked; nothing where it is none.
        fate: What happened to it.
        why: Why, in a word.
        detail: Why, in a sentence, or nothing.
    """

    line: int
    number: str
    fate: Fate
    why: str
    detail: str


class Notable:
    """Keeps the first entries of each fate that is not `SENT`, and counts the others."""

    def __init__(self) -> None:
        self._entries: dict[Fate, list[NotableEntry]] = {
            Fate.MAYBE_SENT: [],
            Fate.NOT_SENT: [],
            Fate.SKIPPED: [],
        }

    def add(self, line: int, number: object, result: BatchResult) -> None:
        """Keep an entry, if it is one of the first of its fate."""
        if isinstance(result, Skipped) and result.result is not None:
            result = result.result
        if isinstance(result, Ok):
            return
        fate = fate_of(result)
        if len(self._entries[fate]) < _KEPT:
            shown = _shown(number)
            self._entries[fate].append(
                NotableEntry(line, shown, fate, masked(why(result)), masked(_detail(result)))
            )

    @property
    def entries(self) -> list[NotableEntry]:
        """The entries, those that may have been sent first."""
        return [entry for entries in self._entries.values() for entry in entries]


def _detail(result: ApiError | TransportFailure | Skipped) -> str:
    return (result.error_msg or "") if isinstance(result, ApiError) else result.detail


def _shown(number: object) -> str:
    digits = re.sub(r"\D", "", number) if isinstance(number, str) else ""
    return mask_msisdn(digits) if len(digits) >= 7 else ""
