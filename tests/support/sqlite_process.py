"""Another process that uses a store in a file, as the tests order it line by line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading

from gateway360_async.stores import Claim, Record, SqliteStore, StoreError


def claim_of(name: str, **settings) -> Claim:
    key = name.encode().ljust(16, b".")
    return Claim(
        **{"token": f"token-{name}", "lease": 600.0, "record": Record(key=key, ttl=900.0)} | settings
    )


async def main(path: str) -> None:
    store = SqliteStore(path, timeout=10.0)
    for line in sys.stdin:
        order, *names = line.split()
        try:
            if order == "connect":
                answer = (await store.connect()).epoch
            elif order == "claim":
                answer = [
                    str(answer.state) for answer in await store.claim([claim_of(name) for name in names])
                ]
            elif order == "stop":  # within a transaction, with the lock
                await asyncio.get_running_loop().run_in_executor(None, stop_within, store)
                answer = "went on"
            else:
                await store.aclose()
                answer = "closed"
        except StoreError as exc:
            answer = {"error": str(exc)}
        print(json.dumps(answer), flush=True)


def stop_within(store: SqliteStore) -> None:
    # This thread stops before it goes on; of the process, another thread might have stopped first.
    store._worker._file.transact((), lambda _: signal.pthread_kill(threading.get_ident(), signal.SIGSTOP))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
