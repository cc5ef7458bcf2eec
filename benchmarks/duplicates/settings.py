"""What is set equally for all, wherever a contender lets its user set it. Durations are in seconds."""

from __future__ import annotations

from typing import Final

__all__ = ["NUMBER", "PAUSE", "TIMEOUT", "TRIES"]

TIMEOUT: Final = 0.3
"""The bound on each step, and so on the wait for an answer."""

TRIES: Final = 3
"""How often people try who retry by hand."""

PAUSE: Final = 0.2
"""The pause between two tries, or where there is jitter its first bound."""

NUMBER: Final = "34666666111"
