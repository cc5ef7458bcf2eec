"""The conformance suite on files. No answer is lost on the way to a file, so there is no hook for that."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from gateway360_async.stores import SqliteStore
from gateway360_async.testing.stores import StoreConformance


class TestSqliteStore(StoreConformance):
    test_lost_answers_are_asked_for_again = None  # No answer is lost on the way to a file.

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "records"
        self._sizes = resource.getrlimit(resource.RLIMIT_FSIZE)
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, self._sizes)
        tmp_path.chmod(0o700)

    def make_store(self, *, namespace="gateway360"):
        return SqliteStore(self.path, namespace=namespace)

    def factory(self):
        return ("gateway360_async.stores:SqliteStore", str(self.path))

    async def restart(self, *, keep_data):
        """Delete the files where the data are to be lost. There is no service that could end."""
        if not keep_data:
            for path in self.path.parent.glob("records*"):
                path.unlink()

    async def fill(self):
        """Let no file of this process become larger than a page, as on a full disk."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, self._sizes[1]))

    async def make_room(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._sizes)

    async def deny(self):
        if not os.geteuid():
            return SqliteStore(Path("/sys/kernel/records"))  # where root may make no files either
        self.path.parent.chmod(0o500)
        return SqliteStore(self.path.with_name("others"))
