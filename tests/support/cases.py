"""Many cases in one test, for checks that take less time than pytest takes to run a test."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

_FAILURES = (Exception, BaseExceptionGroup, pytest.fail.Exception)


class Cases:
    """The cases of one test: each runs, and `end` raises what went wrong, with the names of the cases."""

    def __init__(self) -> None:
        self._count = 0
        self._failed: list[BaseException] = []

    @contextlib.contextmanager
    def case(self, name: Callable[[], object]) -> Iterator[None]:
        """Run a case. Its name is made if it fails: the repr of a hostile value may itself fail."""
        self._count += 1
        try:
            yield
        except _FAILURES as exc:
            exc.add_note(f"Case {name()}")
            if "from pytest-timeout" in str(exc):
                raise  # it stops a test once: the next case that hangs would hang for good
            self._failed.append(exc)

    def end(self) -> None:
        if len(self._failed) == 1:
            raise self._failed[0]
        if self._failed:
            raise BaseExceptionGroup(f"{len(self._failed)} of {self._count} cases fail", self._failed)


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

        def named() -> Iterator[tuple[Callable[[], object], dict[str, Any]]]:
            for index, value in enumerate(values):
                case = dict(zip(names, (value,) if len(names) == 1 else value, strict=True))
                yield (
                    functools.partial(ids, value) if callable(ids) else functools.partial(str, ids[index]),
                    case,
                )

        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            cases = Cases()
            for name, case in named():
                with cases.case(name):
                    check(**case, **fixtures)
            cases.end()

        @functools.wraps(check)
        async def test_of_coroutine(**fixtures: Any) -> None:
            cases = Cases()
            for name, case in named():
                with cases.case(name):
                    await check(**case, **fixtures)
            cases.end()

        made = test_of_coroutine if inspect.iscoroutinefunction(check) else test
        rest = [parameter for name, parameter in signature.parameters.items() if name not in names]
        made.__signature__ = signature.replace(parameters=rest)
        return made

    return decorate
