"""The demo's queue, as `taskiq worker gateway360_async.cli._fleet_worker:broker` finds it, and as it is filled.

Yours is `gateway360_async.integrations.taskiq:broker_from_environment`. This one is in a hurry: what a killed worker
had is given to another after seconds, and a call takes five at most.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gateway360_async import Gateway360Client
from gateway360_async._settings import FLEET_RATE_VARIABLE, FLEET_VARIABLE
from gateway360_async.fleet import Fleet
from gateway360_async.integrations.taskiq import StreamBroker, pin_task
from gateway360_async.integrations.worker import PinWorker
from gateway360_async.transports import DirectTransport

__all__ = ["DEADLINE", "IDLE", "broker", "fleet_of", "queue_of"]

DEADLINE = 5.0
"""Seconds that a call takes at most."""
IDLE = 3_000
"""Milliseconds after which what a dead worker had is given to another."""


def broker() -> StreamBroker:
    """Make the worker's side."""
    return queue_of(os.environ)[0]


def fleet_of(environment: Mapping[str, str]) -> Fleet:
    """Make what the workers share."""
    return Fleet(environment[FLEET_VARIABLE], name="demo", rate=float(environment[FLEET_RATE_VARIABLE]))


def queue_of(environment: Mapping[str, str], name: str = "demo:queue") -> tuple[StreamBroker, Any]:
    """Make the queue, and the task that is put into it."""
    fleet = fleet_of(environment)
    queue = StreamBroker(environment[FLEET_VARIABLE], queue_name=name, idle_timeout=IDLE)

    def make_client() -> Gateway360Client:
        # The key and the gateway are in the environment. This is about this machine, not about its proxy.
        return Gateway360Client(fleet=fleet, deadline=DEADLINE, transport=DirectTransport())

    return queue, pin_task(queue, PinWorker(make_client))
