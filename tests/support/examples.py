"""The examples that the README, the guide and the package's docstrings show: every fenced block of Python."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from pathlib import Path

from pytest_examples import CodeExample, find_examples

import gateway360_async

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gateway360_async.__file__).parent
README = ROOT / "README.md"
GUIDE = ROOT / ".docs" / "guide"
NAMES = re.findall(r"'([\w/-]+\.md)'", str(tomllib.loads((ROOT / ".docs" / "zensical.toml").read_text())))
PAGES = [README, *(GUIDE / name for name in NAMES)]
"""The README, and the pages of the guide in the order of its navigation."""
INCLUDED = "--8<--"
EXAMPLES = [
    example
    for example in find_examples(*PAGES, PACKAGE)
    if INCLUDED not in example.source  # a recipe, which has its own test
]


def example_with(text: str) -> CodeExample:
    """Give the one example that has a text in it."""
    (found,) = (example for example in EXAMPLES if text in example.source)
    return found


def modules() -> list[str]:
    """Name the public modules, the package first."""
    found = pkgutil.walk_packages(gateway360_async.__path__, "gateway360_async.")
    public = (one.name for one in found if "._" not in one.name and ".cli" not in one.name)
    return ["gateway360_async", *public]
