"""One run of a batch with a name, in a process of its own, to be killed at any moment.

    python killed.py BASE_URL STORE COUNT CONCURRENCY

It writes a line for each item as it takes it: the entry's index, its result's class, what happened to the SMS.
"""

from __future__ import annotations

import asyncio
import os
import sys

from gateway360_async import Gateway360Client
from gateway360_async.stores import store_at


async def main(base_url: str, place: str, count: int, concurrency: int) -> None:
    numbers = (str(34600000000 + index) for index in range(count))
    settings = {"base_url": base_url, "concurrency": concurrency, "store": store_at(place)}
    async with Gateway360Client("k3y", sender="PIZZA", **settings) as client:
        async with client.batch(numbers, name="1") as batch:
            async for item in batch:
                line = f"{item.index} {type(item.result).__name__} {item.result.disposition}\n"
                os.write(1, line.encode())  # at once: what was taken must be known however this process ends


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
