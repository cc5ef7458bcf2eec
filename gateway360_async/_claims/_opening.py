"""The opening of a client's store: once for all of its calls, and again where it failed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextvars import Context
from typing import Any, Final

from .._errors import ClientClosed, StoreError
from .._secret import Secret
from .._waiting import uninterrupted
from ..stores._base import Store
from ._keys import KeyBuilder
from ._lanes import answered

__all__ = ["Opening"]

_logger = logging.getLogger("gateway360_async")

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


class Opening:
    """Connects a store with the first question.

    Args:
        store: The store.
        url: Where the client posts to.
        api_key: The account's key.
        settings: What clients of one store had better agree on, by its name.
        longest: Seconds that one question takes at most.
    """

    def __init__(
        self, store: Store, *, url: str, api_key: Secret, settings: Mapping[str, object], longest: float
    ) -> None:
        self._store = store
        self._url = url
        self._api_key = api_key
        self._settings = settings
        self._longest = longest
        self._keys: KeyBuilder | None = None
        self._task: asyncio.Task[KeyBuilder] | None = None
        self._closed = False

    async def keys(self) -> KeyBuilder:
        """Connect the store unless it is connected, and give what makes its keys.

        Raises:
            StoreError: It cannot be used.
            InvalidConfiguration: It is set up in a way that cannot keep the promise.
            ClientClosed: The client was closed.
        """
        if self._closed:
            raise ClientClosed
        if self._keys is not None:
            return self._keys
        task = self._task
        if task is None or task.done():
            loop = asyncio.get_running_loop()
            # In an empty context: it outlives its first caller, and is no part of that one's trace.
            task = self._task = asyncio.Task(self._connect(loop), loop=loop, context=Context())
        # A caller can be cancelled without taking the others' wait along.
        await asyncio.wait((task,))
        if task.cancelled():
            raise ClientClosed
        return task.result()

    async def stop(self) -> None:
        """Open the store no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await uninterrupted(self._task)
            if not self._task.cancelled():
                self._task.exception()  # taken down as seen: each caller of it may have been cancelled

    async def aclose(self) -> None:
        """Close the store, if it is open."""
        if self._keys is not None:
            self._keys = None
            await self._store.aclose()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> KeyBuilder:
        until = loop.time() + self._store.timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                self._keys = await self._connected()
            except StoreError as exc:
                if not exc.passing or loop.time() >= until:
                    raise
            else:
                return self._keys
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _connected(self) -> KeyBuilder:
        identity = await answered(self._longest, self._store.connect)
        keys = KeyBuilder(identity.secret, self._store.namespace, self._url)
        try:
            await self._compare_settings(keys)
            for warning in await answered(self._longest, self._store.check):
                _logger.warning("%s", warning)
        except BaseException:
            await self._store.aclose()
            raise
        return keys

    async def _compare_settings(self, keys: KeyBuilder) -> None:
        """Say where this client contradicts the one that connected before it."""
        account = keys.account(self._api_key.reveal())
        ours = json.dumps({"account": account, **self._settings})
        header = await answered(self._longest, self._store.header, keys.settings(), ours, replace=True)
        before: dict[str, Any] = json.loads(header)
        if before["account"] != account:
            _logger.warning(
                "the client before this one used another API key with this store: its records count for both. If "
                "it is of another account, give each account's store a namespace of its own"
            )
        for name, value in self._settings.items():
            if before[name] != value:
                _logger.warning(
                    "the client before this one had %s=%s, and this one has %s: each keeps to its own",
                    name,
                    before[name],
                    value,
                )
