from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Not pytest's: the path of a socket has about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        yield Path(folder)
