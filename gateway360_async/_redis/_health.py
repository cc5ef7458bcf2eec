"""What Redis must be like for the promise to hold, and what is lost where it is not.

Rules of this module:

- A Redis that could forget is used all the same, and warned of: it may be a test's. One that cannot keep a claim in one
  step (a cluster) is refused.
- What a hosted Redis does not tell (`CONFIG` is often forbidden there) is not guessed.

Source: Redis' own pages on persistence and on key eviction.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from redis.exceptions import ResponseError

from .._errors import InvalidConfiguration

__all__ = ["troubles_of"]

_logger = logging.getLogger("gateway360_async")

_NO_FILE: Final = (
    "Redis keeps no append-only file: when it ends, it forgets what it has not saved, and a task that is delivered "
    "again then sends a second SMS. Set `appendonly yes`"
)
_NOT_ALWAYS: Final = (
    "Redis writes its append-only file to the disk every second or later: a power failure, or a crash of its machine, "
    "forgets what was sent last, and a task that is delivered again then sends a second SMS. Set `appendfsync always`"
)
_EVICTS: Final = (
    "Redis gives up keys when its memory is full (maxmemory-policy {policy}): what was sent is then forgotten, and a task "
    "that is delivered again sends a second SMS. Set `maxmemory-policy noeviction`"
)


async def troubles_of(redis: Any) -> list[str]:
    """Ask Redis how it is set up, and log a warning for each trouble. Gives them, a sentence each.

    Raises:
        InvalidConfiguration: It is a cluster.
        RedisError: It cannot be asked.
    """
    try:
        info: dict[str, Any] = await redis.info("everything")
    except ResponseError:
        return []  # a user that may not ask (ACL's @dangerous); a cluster refuses the scripts by itself
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled"):
        problem = "is a Redis Cluster, over whose nodes no script reaches"
        raise InvalidConfiguration("url", problem, "a single Redis, or a primary with its replicas")
    troubles: list[str] = []
    if not info.get("aof_enabled"):
        troubles.append(_NO_FILE)
    elif await _fsync(redis) not in ("always", None):
        troubles.append(_NOT_ALWAYS)
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        troubles.append(_EVICTS.format(policy=policy))
    for trouble in troubles:
        _logger.warning("%s", trouble)
    return troubles


async def _fsync(redis: Any) -> str | None:
    """When the append-only file is written to the disk; `None`: it does not say."""
    try:
        settings: dict[Any, Any] = await redis.config_get("appendfsync")
    except ResponseError:
        return None
    value = settings.get(b"appendfsync", settings.get("appendfsync"))
    return value.decode() if isinstance(value, bytes) else value
