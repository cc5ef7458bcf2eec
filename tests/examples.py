"""The examples that the README and the package's docstrings show: every fenced block of Python."""

from __future__ import annotations

from pathlib import Path

from pytest_examples import CodeExample, find_examples

import gateway360_async

README = Path(__file__).parent.parent / "README.md"
EXAMPLES = [*find_examples(README, Path(gateway360_async.__file__).parent)]


def example_with(text: str) -> CodeExample:
    """Give the one example that has a text in it."""
    (found,) = (example for example in EXAMPLES if text in example.source)
    return found
