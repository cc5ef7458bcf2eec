"""A store in the memory of one process, for a process of a race."""

from gateway360_async.testing.stores import Memory, MemoryStore

MEMORY = Memory()


def shared():
    return MemoryStore(MEMORY)
