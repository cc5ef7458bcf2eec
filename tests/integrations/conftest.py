from __future__ import annotations

import pytest
from redis_restarts import RestartingRedis


@pytest.fixture
def server(restarting):
    """A Redis that a test's event loop can end and begin again with its data."""
    return RestartingRedis(restarting)
