"""The house: how large its rooms are, how far a call goes, how many files a change touches, and which words are used."""

from __future__ import annotations

import ast
import asyncio
import functools
import io
import re
import sys
import tokenize
from asyncio import selector_events
from pathlib import Path

from support.examples import GUIDE, PACKAGE, ROOT
from support.loopback import Server

from gateway360_async import Gateway360Client

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = sorted((ROOT / "benchmarks").rglob("*.py")) + sorted((ROOT / ".docs" / "recipes").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(GUIDE.rglob("*.md"))]

ROLES = re.compile(r"\b(who|whom|whoever|somebody|someone|nobody|everybody|anybody)\b", re.IGNORECASE)
"""Subjects without a role: caller, worker, leader, waiter, gateway, user, machine."""
START = "(?:^|(?<=[.:!?-] ))"
OPENINGS = re.compile(START + r"(What|Who|Whose|Where|Whoever)\b")
OLD = re.compile(
    r"\b(fleets?|ledgers?|patience|tall(y|ies)|ceilings?|hasher|doomed|sharing|resend_unknown|left_by_batch)\b",
    re.IGNORECASE,
)
"""Words of before; the glossary has those of now."""


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


@functools.cache
def tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline))


@functools.cache
def texts(path: Path) -> list[tuple[int, str]]:
    """The docstrings and comments of a module, by line."""
    source = path.read_text("utf-8")
    found = [
        (node.lineno, " ".join(node.value.value.split()))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    found += [
        (token.start[0], token.string.lstrip("# "))
        for token in tokens(path)
        if token.type == tokenize.COMMENT
    ]
    return found


def test_root_of_the_package_has_at_most_15_modules():
    modules = [path.name for path in PACKAGE.iterdir() if path.suffix == ".py" and path.name != "__init__.py"]
    modules += [path.name for path in PACKAGE.iterdir() if path.is_dir() and re.match(r"_[a-z]", path.name)]
    assert len(modules) <= 15, sorted(modules)


def test_files_of_the_package_have_at_most_400_lines():
    assert {str(path): lines(path) for path in SOURCES if lines(path) > 400} == {}


def test_names_of_tests_have_at_most_60_characters():
    names = [
        node.name
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]
    assert [name for name in names if len(name) > 60] == []
    assert [name for name in names if re.match(r"test_(what|who|whose|nobody|somebody|where)_", name)] == []


def prose(path: Path, *words: re.Pattern[str]) -> list[str]:
    """Where a module's prose has one of these. Most modules do not have them at all, and are not taken apart."""
    if not any(
        re.search(word.pattern.replace(START, ""), path.read_text("utf-8"), word.flags) for word in words
    ):
        return []
    return [
        f"{path}:{line}: {text}" for line, text in texts(path) if any(word.search(text) for word in words)
    ]


def test_prose_names_roles_and_uses_the_glossary():
    found = []
    for path in (*TESTS, *OTHERS):
        found += prose(path, ROLES)
    for path in SOURCES:
        found += prose(path, ROLES, OPENINGS, OLD)
    for path in PAGES:
        numbered = enumerate(path.read_text("utf-8").splitlines(), 1)
        found += [
            f"{path}:{line}: {text}" for line, text in numbered if ROLES.search(text) or OLD.search(text)
        ]
    assert found == []


async def test_call_to_the_socket_has_at_most_7_own_frames(monkeypatch):
    frames: list[str] = []
    write = selector_events._SelectorSocketTransport.write

    def traced(transport, data):
        if bytes(data[:5]) == b"POST ":
            waiting = caller.get_coro()
            while waiting is not None:  # from the caller's task to the future of its leader's
                code = getattr(waiting, "cr_code", None)
                if code is not None:
                    frames.append(code.co_qualname)
                waiting = getattr(waiting, "cr_await", None)
            stack, frame = [], sys._getframe(1)
            while frame is not None:
                if frame.f_globals.get("__name__", "").startswith("gateway360_async."):
                    stack.append(frame.f_code.co_qualname)
                frame = frame.f_back
            frames.extend(name for name in reversed(stack) if name not in frames)
        return write(transport, data)

    async with Server() as server, Gateway360Client("k3y", base_url=server.url, sender="PIZZA") as client:
        monkeypatch.setattr(selector_events._SelectorSocketTransport, "write", traced)
        caller = asyncio.create_task(client.request_pin("34666666111"))
        (await caller).unwrap()
    assert len(frames) <= 7, frames


def mentions(pattern: str, *kinds: int) -> set[str]:
    """The files of the package whose code, not its prose, mentions a name, among tokens of these kinds."""
    found = set()
    for path in SOURCES:
        words = (token.string.strip("'\"") for token in tokens(path) if token.type in kinds)
        if any(re.fullmatch(pattern, word) for word in words):
            found.add(path.relative_to(PACKAGE).as_posix())
    return found


def listed(title: str) -> set[str]:
    """The files that the guide lists below a title."""
    text = (GUIDE / "contributing.md").read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\d\. `([\w/]+\.py)`", text, re.MULTILINE))


def test_field_of_a_request_is_in_at_most_4_files():
    assert mentions(r"pin_params(\.\w+)?", tokenize.NAME, tokenize.STRING) == listed(
        "Add a field of a request"
    )
    assert len(listed("Add a field of a request")) <= 4


def test_operation_is_in_at_most_7_files():
    names = "verify_pin|VERIFY_PIN|Verified|NotVerified|VerifyResult|PinCheck|checked_pin|decode_verification"
    assert mentions(names, tokenize.NAME) | {"sandbox/_gateway.py"} == listed("Add an operation")
    assert len(listed("Add an operation")) <= 7


def test_guide_names_each_place_of_the_house():
    text = (GUIDE / "contributing.md").read_text("utf-8").partition("## The house\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", text.replace("tests/test_house.py", "")))
    found = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir()}
    assert found - named - {"__init__.py", "py.typed", "__pycache__/"} == set()
    assert named <= found
