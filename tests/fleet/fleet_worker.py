"""The workers of these tests, in processes of their own: the demo's, with a short lease.

A lease lasts for a while beyond its call's deadline, for a process that was held up. Here that would be a wait for
every worker that is killed.
"""

from __future__ import annotations

import os

from gateway360_async.cli import _fleet_worker
from gateway360_async.fleet import _session

_fleet_worker.DEADLINE = 2.0
_fleet_worker.IDLE = 1_000
_session.GRACE = 1.0


def broker():
    return _fleet_worker.queue_of(os.environ, os.environ.get("GATEWAY360_FLEET_QUEUE", "demo:queue"))[0]
