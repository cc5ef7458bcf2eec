"""Builds the guide and the API reference with zensical, and opens them.

python .docs/guide.py [--no-open]
"""

from __future__ import annotations

import subprocess
import sys
import webbrowser
from pathlib import Path

HERE = Path(__file__).parent


def build() -> str:
    """Build the pages, and give what the tool said. Raises `subprocess.CalledProcessError`."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", HERE / "zensical.toml"]
    return subprocess.run(  # noqa: S603  # its own words
        command, check=True, cwd=HERE.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


if __name__ == "__main__":
    print(build())
    page = HERE / "site" / "index.html"
    print(page)
    if "--no-open" not in sys.argv:
        webbrowser.open(page.resolve().as_uri())
