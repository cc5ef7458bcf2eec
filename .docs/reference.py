"""Makes the API reference of the docstrings with pdoc, and opens it.

python .docs/reference.py [FOLDER]          build/reference, unless said otherwise
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import webbrowser
from pathlib import Path

import pdoc

import gateway360_async

__all__ = ["make", "modules"]


def modules() -> list[str]:
    """Give the names of the public modules, the root's first."""
    found = pkgutil.walk_packages(gateway360_async.__path__, "gateway360_async.")
    # The command line is no API: its `--help` says what there is.
    public = (one.name for one in found if "._" not in one.name and ".cli" not in one.name)
    return ["gateway360_async", *public]


def make(folder: Path) -> Path:
    """Make the pages, and give the first one's path."""
    names = modules()
    for name in names:
        module = importlib.import_module(name)
        # What a package imports only when it is asked for, pdoc would not see.
        vars(module).update({member: getattr(module, member) for member in module.__all__})
    pdoc.render.configure(docformat="google", footer_text=f"gateway360-async {gateway360_async.__version__}")
    pdoc.pdoc(*names, output_directory=folder)
    return folder / "gateway360_async.html"


if __name__ == "__main__":
    page = make(Path(sys.argv[1] if len(sys.argv) > 1 else "build/reference"))
    print(page)
    webbrowser.open(page.resolve().as_uri())
