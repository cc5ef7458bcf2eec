"""What broke a fleet once, on real servers: one test for each."""

from __future__ import annotations

from fleet_parts import client_on, fleet_on, only
from loopback import Server

from gateway360_async import Disposition

NUMBER = "34600000111"
AN_HOUR = 3_600_000_000  # in microseconds


async def test_a_clock_that_goes_back_stops_no_turns(redis):
    async with Server() as server, client_on(redis, server, fleet=fleet_on(redis, rate=100), deadline=5) as client:
        await client.request_pin(NUMBER)
        turns = only(redis, "turns")
        redis.client.set(turns, float(redis.client.get(turns)) + AN_HOUR)
        result = await client.request_pin(NUMBER)
        assert result.disposition is Disposition.SENT
        assert redis.client.pttl(turns) < 5000
