"""How many of something there may be in any stretch of time: pure, the time is handed in."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Limit"]


class _Dated(Protocol):
    @property
    def at(self) -> float: ...


_Entry = TypeVar("_Entry", bound=_Dated)


class Limit(Generic[_Entry]):
    """How much of one limit is used, for each key that it counts apart.

    Args:
        most: How many there may be of a key.
        key_of: Gives the key of an entry.
        window: Seconds that it is about, wherever they begin, without their end; `None`: for ever.
    """

    __slots__ = ("_by_key", "_key_of", "_most", "_recent", "_window")

    def __init__(self, most: int, key_of: Callable[[_Entry], str], window: float | None) -> None:
        self._most = most
        self._key_of = key_of
        self._window = window
        self._by_key: Counter[str] = Counter()
        # The entries of the window, the oldest first, for all keys: so that those of a key that is never asked for again
        # go as well. Not a dict, whose first key takes ever longer to find while the ones before it are
        # deleted; and not a deque, for any of them may be dropped.
        self._recent: OrderedDict[_Entry, None] = OrderedDict()

    def is_reached(self, entry: _Entry) -> bool:
        """Whether there is no room for an entry, at its time."""
        if self._window is not None:
            while self._recent:
                oldest = next(iter(self._recent))
                if entry.at - oldest.at < self._window:
                    break
                self.drop(oldest)
        return self._by_key[self._key_of(entry)] >= self._most

    def add(self, entry: _Entry) -> None:
        """Count an entry."""
        self._by_key[self._key_of(entry)] += 1
        if self._window is not None:
            self._recent[entry] = None

    def drop(self, entry: _Entry) -> None:
        """Count an entry no more, unless the window has left it behind."""
        if self._window is not None:
            if entry not in self._recent:
                return
            del self._recent[entry]
        key = self._key_of(entry)
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]
