"""The guide is built without a warning, and its reference has a text for each public name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
from support.examples import GUIDE, PAGES, README, modules

SCRIPT = Path(__file__).parent.parent / ".docs" / "guide.py"
INTERNAL = {
    "gateway360_async.stores": {"StoreError"},  # it is the root's
}
"""Names that GLOSSARY.md takes out of each public `__all__`."""


@pytest.fixture(scope="module")
def site():
    """The pages, built."""
    spec = importlib.util.spec_from_file_location("guide", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build()
    return GUIDE.parent / "site"


def test_readme_says_how():
    assert "python .docs/guide.py" in README.read_text(encoding="utf-8")


def test_first_page_of_the_package_names_the_other_modules():
    first, *others = modules()
    text = sys.modules[first].__doc__
    assert [name for name in others if f"`{name}`" not in text] == []


def test_each_page_is_in_the_navigation():
    assert sorted(GUIDE.rglob("*.md")) == sorted(PAGES[1:])


@pytest.mark.timeout(120)
def test_reference_has_a_text_for_each_public_name(site):
    anchors = set()
    for page in (site / "reference").glob("*.html"):
        anchors |= set(re.findall(r'id="([\w.]+)"', page.read_text(encoding="utf-8")))
    for name in modules():
        module = importlib.import_module(name)
        assert module.__doc__, name
        for member in set(module.__all__) - INTERNAL.get(name, set()) - {"__version__"}:
            assert f"{name}.{member}" in anchors, f"{name}.{member} is on no page of the reference"
            thing = getattr(module, member)
            assert not inspect.isclass(thing) or thing.__doc__, f"{name}.{member} has no text"
