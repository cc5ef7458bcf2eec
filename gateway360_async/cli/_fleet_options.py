"""What `--fleet` means for the other options of a batch.

Rules of this module:

- What the workers decide (the rate, how many requests at a time) is refused here rather than ignored.
- The URL may hold a password: no text shows it.
- An empty `--fleet` is refused: a shell writes one where a variable is not set, and the batch would be sent from here.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from gateway360_async import InvalidConfiguration
from gateway360_async._settings import FLEET_NAME_VARIABLE, FLEET_RATE_VARIABLE, FLEET_VARIABLE

from ._options import CONCURRENCY, BatchOptions
from ._problems import UsageProblem

if TYPE_CHECKING:
    from gateway360_async.fleet import Fleet

__all__ = ["fleet_of", "settled_fleet"]

_SETTINGS: Final = {"url": "--fleet", "name": FLEET_NAME_VARIABLE, "batch": "--batch"}
"""How a person gives what the library calls by these names."""


def settled_fleet(options: BatchOptions) -> BatchOptions:
    """Settle the batch's name, and check what goes with a fleet.

    Raises:
        UsageProblem: An option is wrong, or does not go with the others.
    """
    if options.fleet is None:
        if options.batch is not None:
            raise UsageProblem(
                f"--batch {options.batch}: names a batch of a fleet; give --fleet, or {FLEET_VARIABLE}"
            )
        return options
    if not options.fleet:
        raise UsageProblem(f"--fleet: is empty; give a URL, redis://…, or none and unset {FLEET_VARIABLE}")
    with_fleet = f"with --fleet (or {FLEET_VARIABLE})"
    refused = {
        "--ledger": (options.ledger is not None, "the fleet's records are the batch's memory"),
        "--resend-unknown": (
            options.resend_unknown,
            "what may have been sent is left alone; another --batch sends it again",
        ),
        "--rate": (options.rate is not None, f"the rate is the workers': {FLEET_RATE_VARIABLE}"),
        "--concurrency": (
            options.concurrency != CONCURRENCY,
            "how many requests there are at a time is the workers': taskiq worker --max-async-tasks",
        ),
    }
    for option, (given, why) in refused.items():
        if given:
            raise UsageProblem(f"{option} does not go {with_fleet}: {why}")
    if options.batch is None and options.file == "-":
        raise UsageProblem(f"--batch: stdin has no name; give one {with_fleet}")
    options = attrs.evolve(options, batch=Path(options.file).name if options.batch is None else options.batch)
    _check(options)
    return options


def _check(options: BatchOptions) -> None:
    # First, for what it says is missing is the extra that has everything.
    import_module("gateway360_async.integrations.taskiq")
    from gateway360_async.fleet import FleetQueue  # noqa: PLC0415  # with redis, which is an extra

    fleet_of(options)
    try:
        FleetQueue(options.batch or "", _nowhere)
    except InvalidConfiguration as exc:
        raise in_words(exc) from None


async def _nowhere(_task: object) -> None:
    """Take a task and lose it."""


def fleet_of(options: BatchOptions) -> Fleet:
    """Make the fleet that the workers of this environment belong to. Raises `UsageProblem`."""
    from gateway360_async.fleet import Fleet  # noqa: PLC0415  # with redis, which is an extra

    try:
        return Fleet(options.fleet or "", name=os.environ.get(FLEET_NAME_VARIABLE) or "gateway360")
    except InvalidConfiguration as exc:
        raise in_words(exc) from None


def in_words(problem: InvalidConfiguration) -> UsageProblem:
    """Name what is wrong as whoever typed it knows it."""
    option = _SETTINGS.get(problem.setting, problem.setting)
    return UsageProblem(f"{option}: {problem.problem}; expected {problem.expected}")
