from __future__ import annotations

import pytest

from gateway360_async.testing import sandbox_in_thread


@pytest.fixture
def gateway():
    with sandbox_in_thread() as sandbox:
        yield sandbox
