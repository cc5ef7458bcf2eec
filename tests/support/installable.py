"""Whether what is installed into one environment can be, without the network: by the metadata of what is installed here."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def contradictions(installed: list[str]) -> list[str]:
    """Name the packages of which no version suits all that ask for them."""
    specifiers: dict[str, SpecifierSet] = defaultdict(SpecifierSet)
    seen, todo = set(), [Requirement(one) for one in installed]
    while todo:
        wanted = todo.pop()
        specifiers[wanted.name] &= wanted.specifier
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        with contextlib.suppress(metadata.PackageNotFoundError):
            for text in metadata.requires(wanted.name) or ():
                needed = Requirement(text)
                extras = ["", *wanted.extras]
                if needed.marker is None or any(needed.marker.evaluate({"extra": one}) for one in extras):
                    todo.append(needed)
    return [f"{name}{one}" for name, one in specifiers.items() if not satisfiable(one)]


def satisfiable(specifier: SpecifierSet) -> bool:
    bounds = [one.version.removesuffix(".*") for one in specifier]
    # Where there is a version that suits, one of the bounds does, or one close above.
    return not bounds or any(
        specifier.contains(Version(f"{bound}{more}"), prereleases=True)
        for bound in ["0", *bounds]
        for more in ("", ".0.0.1")
    )
