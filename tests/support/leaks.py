"""Everywhere that a person, a debugger or a crash reporter may look, as text to search.

Values of a test itself do not count: its frames are left out. Ours and the libraries' count.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from gateway360_async.transports import chain

_TESTS = str(Path(__file__).parents[1])


def shown(value: object) -> Iterator[str]:
    """Yield a value as people print it, alone and inside of something else."""
    yield from (repr(value), str(value), f"{value}", f"{value!a}", f"{[value]}", f"{ ({'x': value}) }")


def carried(value: object) -> Iterator[str]:
    """Yield what leaves with a value that is pickled or copied."""
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        copied = carry(value)
        yield copied.decode("latin-1") if isinstance(copied, bytes) else repr(copied)


def reported(error: BaseException) -> Iterator[str]:
    """Yield what a crash reporter says of an exception and all below it: texts, attributes, frames with locals.

    Also of contexts that `from None` hides from a printed traceback: a debugger shows them.
    """
    for link in chain(error):
        yield from (repr(link), str(link), repr(link.args), repr(vars(link)))
        summary = traceback.TracebackException(type(link), link, link.__traceback__, capture_locals=True)
        yield from (str(frame.locals) for frame in summary.stack if not frame.filename.startswith(_TESTS))


_LEAVES = (
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    logging.Logger,
    asyncio.AbstractEventLoop,
)


def walked(root: object) -> Iterator[tuple[str, object]]:
    """Walk attributes, slots and containers, and yield every object with the way to it.

    Functions are not entered: what is in a closure is no attribute, and no dumper of objects prints it.
    """
    pending: list[tuple[str, object]] = [(type(root).__name__, root)]
    seen: dict[int, object] = {}  # the object too, or its number would be given to another
    while pending:
        path, value = pending.pop()
        if isinstance(value, (str, bytes, bytearray, memoryview)):
            yield path, value
        elif id(value) not in seen and not isinstance(value, (*_LEAVES, int, float)):
            seen[id(value)] = value
            yield path, value
            pending.extend((path + step, inner) for step, inner in _inside(value))


def reachable(root: object) -> Iterator[tuple[str, str]]:
    """Yield every text, and all bytes as one, that can be reached from an object, with the way to it."""
    for path, value in walked(root):
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, (bytes, bytearray, memoryview)):
            yield path, bytes(value).decode("latin-1")


def printed(root: object) -> Iterator[str]:
    """Yield what is printed of an object, and of all objects of this package that can be reached from it."""
    for _, value in walked(root):
        if type(value).__module__.startswith("gateway360_async"):
            yield from (repr(value), str(value))


def _inside(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in list(value.items()):
            yield f"[{type(key).__name__} key]", key
            yield f"[{key!r}]", inner
    elif isinstance(value, Iterable) and hasattr(value, "__len__"):
        for index, inner in enumerate(value):
            yield f"[{index}]", inner
    for name in _attributes(value):
        with suppress(AttributeError):
            yield f".{name}", getattr(value, name)


def _attributes(value: Any) -> set[str]:
    names = set(getattr(value, "__dict__", ()))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = name.startswith("__") and not name.endswith("__")
            names.add(f"_{cls.__name__.lstrip('_')}{name}" if mangled else name)
    return names
