"""Many cases in one test, for checks that take less time than pytest takes to run a test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

_FAILURES = (Exception, BaseExceptionGroup, pytest.fail.Exception)


def each(
    names: str | tuple[str, ...],
    values: Iterable[Any],
    ids: Callable[[Any], object] | Sequence[object] = repr,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test's body for each case, and name those that fail. The arguments are those of `pytest.mark.parametrize`.

    The cases share the test's fixtures, so it is not for those that change something.
    """
    names = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names
    values = list(values)
    assert values
    assert callable(ids) or len(ids) == len(values)

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(check)

        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            failed = []
            for index, value in enumerate(values):
                case = dict(zip(names, (value,) if len(names) == 1 else value, strict=True))
                try:
                    check(**case, **fixtures)
                except _FAILURES as exc:
                    exc.add_note(f"Case {ids(value) if callable(ids) else ids[index]}")
                    failed.append(exc)
            if len(failed) == 1:
                raise failed[0]
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(values)} cases fail", failed)

        rest = [parameter for name, parameter in signature.parameters.items() if name not in names]
        test.__signature__ = signature.replace(parameters=rest)
        return test

    return decorate
