"""The moment in which a process learns which memory it uses, and many of its calls wait for that."""

from __future__ import annotations

import asyncio

from gateway360_async._secret import Secret
from gateway360_async.fleet import Fleet


async def test_who_asks_in_the_moment_in_which_it_is_known_gets_it_at_once():
    """It went round for ever: what is done can be waited for without an end, and nothing else runs meanwhile."""
    session = Fleet("redis://localhost:1/0").session(gateway_url="http://localhost", api_key=Secret("key"))
    link = session._link
    link._opening = asyncio.get_running_loop().create_future()
    link._opening.set_result("id")  # and its callback has not run yet
    assert await link.memory(patience=0.0) == "id"
    await session.aclose()
