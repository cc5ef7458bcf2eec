"""A store in the memory of one process, for a process of a race."""

import asyncio
from pathlib import Path

from gateway360_async.testing.stores import Memory, MemoryStore

MEMORY = Memory()


def shared():
    return MemoryStore(MEMORY)


class Silent(MemoryStore):
    """A store that never answers."""

    def __init__(self, path):
        super().__init__(MEMORY)
        self._path = Path(path)

    async def connect(self):
        self._path.touch()
        await asyncio.Event().wait()
