"""The API reference: pdoc makes it of the docstrings, and of every public name there is something to say."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pdoc.doc
import pdoc.doc_ast
import pytest
from examples import README

SCRIPT = Path(__file__).parent.parent / ".docs" / "reference.py"


@pytest.fixture
def reference():
    spec = importlib.util.spec_from_file_location("reference", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    modules = [importlib.import_module(name) for name in script.modules()]
    before = [set(vars(module)) for module in modules]
    yield script
    # What was imported because it was asked for is to be asked for again: other tests look at that.
    for module, names in zip(modules, before, strict=True):
        for name in set(module.__all__) - names:
            vars(module).pop(name, None)


def test_the_readme_says_how():
    assert "python .docs/reference.py" in README.read_text(encoding="utf-8")


def test_the_first_page_leads_to_the_others(reference):
    first, *others = reference.modules()
    text = sys.modules[first].__doc__
    assert [name for name in others if f"`{name}`" not in text] == []


@pytest.mark.timeout(120)
def test_it_is_made_without_a_warning_and_every_public_name_has_its_text(reference, tmp_path):
    reference.make(tmp_path)
    names = reference.modules()
    assert {"gateway360_async.delivery", "gateway360_async.observers.prometheus"} < set(names)
    made = {str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.html")}
    assert made == {"index.html"} | {f"{name.replace('.', '/')}.html" for name in names}
    assert [part for name in names for part in silent(pdoc.doc.Module.from_name(name))] == []


def silent(module):
    """Give the names of a module that are shown and say nothing."""
    if not module.docstring:
        yield module.fullname
    for part in module.members.values():
        # What a module imports has its text where it is made.
        if not part.docstring and not (isinstance(part, pdoc.doc.Variable) and told_elsewhere(part.name)):
            yield part.fullname
        if isinstance(part, pdoc.doc.Class):
            yield from silent_members(part)


def silent_members(part):
    for member in part.members.values():
        ours = member.taken_from[0].startswith("gateway360_async") and not member.name.startswith("_")
        # An attribute may stand among the arguments or the attributes of its class.
        if ours and not member.docstring and f"**{member.name}:**" not in part.docstring:
            if f"\n    {member.name}: " not in part.docstring:
                yield member.fullname


def told_elsewhere(name):
    ours = (module for path, module in sys.modules.items() if path.startswith("gateway360_async."))
    return any(name in pdoc.doc_ast.walk_tree(module).var_docstrings for module in ours)
