"""Editors and dependency injectors read annotations and docstrings: they find what they need."""

from __future__ import annotations

import importlib
import inspect
import re
import typing

import attrs
import pytest
from support.examples import modules

import gateway360_async
from gateway360_async import (
    ApiError,
    Ok,
    PinParams,
    PinRequest,
    RetryBudget,
    RetryPolicy,
    Skipped,
    SpendGuard,
    TransportFailure,
)


def callables_of(name, thing):
    yield name, thing
    if inspect.isclass(thing):
        for member_name, member in inspect.getmembers(thing):
            called = member.fget if isinstance(member, property) else member
            # The client makes a batch, and callers do not.
            made = member_name == "__init__" and thing is not gateway360_async.Batch
            if inspect.isfunction(called) and (made or not member_name.startswith("_")):
                yield f"{name}.{member_name}", called


def public_callables():
    """Give the classes and functions of all public modules, and the methods of the classes."""
    for module_name in modules():
        module = importlib.import_module(module_name)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield from callables_of(f"{module_name}.{name}", thing)


def readable(thing):
    try:
        return typing.get_type_hints(thing) is not None
    except NameError:
        return False


def test_type_hints_of_each_public_callable_can_be_read():
    assert [name for name, thing in public_callables() if not readable(thing)] == []


@pytest.mark.parametrize("name", ["disposition", "unwrap"])
def test_text_of_a_member_describes_all_results(name):
    members = [getattr(one, name, None) for one in (Ok, ApiError, TransportFailure, Skipped)]
    # A failure's disposition is a field.
    texts = {inspect.getdoc(one) for one in members if inspect.isfunction(one) or isinstance(one, property)}
    assert len(texts) == 1
    assert all(f"`{one.__name__}`" in text for text in texts for one in (Ok, ApiError, TransportFailure))


@pytest.mark.parametrize("policy", [SpendGuard, RetryPolicy, RetryBudget, PinParams, PinRequest])
def test_signature_shows_the_default_values(policy):
    assert "NOTHING" not in str(inspect.signature(policy))


def test_default_values_are_written_where_editors_look():
    """An editor shows the text after `default=`, and a function of ours by its name: `per_number: int | None = _limit()`."""
    classes = {thing for _, thing in public_callables() if attrs.has(thing)}
    assert SpendGuard in classes
    assert [
        one.__name__ for one in classes if re.search(r"^    \w+: .* = _\w+\(", inspect.getsource(one), re.M)
    ] == []
