"""The conformance suite on the store in memory: all of it with a clock that is moved, the places and faults over a socket."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from support.served_store import ServedHooks, Server

from gateway360_async.testing import FakeClock
from gateway360_async.testing.stores import Memory, MemoryStore, StoreConformance
from gateway360_async.testing.stores._places import FaultRules, PlaceRules


class TestMemoryStore(StoreConformance):
    # No other process has its memory, no answer is lost on the way to it, and it is never full nor denied.
    test_each_key_is_claimed_by_exactly_one_process = None
    test_processes_never_exceed_a_limit = None
    test_processes_share_a_rate = None
    test_killed_processes_leave_in_doubt_what_they_had_claimed = None
    test_lost_answers_are_asked_for_again = None
    test_full_place_refuses_and_is_usable_again = None
    test_missing_rights_are_told_and_do_not_pass = None

    @pytest.fixture(autouse=True)
    def place(self):
        self.clock = FakeClock()
        self.memory = Memory(self.clock)

    def make_store(self, *, namespace="gateway360"):
        return MemoryStore(self.memory, namespace=namespace)

    async def advance(self, store, seconds):
        self.clock.advance(seconds)

    async def restart(self, *, keep_data):
        if not keep_data:
            self.memory.clear()


class TestServedStore(ServedHooks, PlaceRules, FaultRules):
    # The other rules are those of the memory that it serves; real processes race for the stores that are for them.

    @pytest.fixture(autouse=True)
    def place(self):
        # Not in pytest's folder: the path of a socket has about a hundred characters.
        folder = tempfile.mkdtemp(prefix="served-")
        self.server = Server(Path(folder, "socket"))
        self.server.start()
        yield
        self.server.stop()
        shutil.rmtree(folder)
