from __future__ import annotations

import pytest
from support.redis_restarts import RestartingRedis


@pytest.fixture
def server(restarting):
    """A Redis that a test's event loop can end and begin again with its data."""
    return RestartingRedis(restarting)


@pytest.fixture
def named(monkeypatch):
    """Name a sandbox in the environment, as the worker finds it."""

    def name(gateway):
        monkeypatch.setenv("GATEWAY360_BASE_URL", gateway.base_url)
        monkeypatch.setenv("GATEWAY360_API_KEY", gateway.api_key)

    return name
