"""Chaos: senders are killed all the time, the server restarts once, and in the end every row is accounted for."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final

from ..process import Process
from ..report import Bar
from .measures import Recorder, Site

_SENDERS: Final = 4
_JOB: Final = {"name": "chaos", "concurrency": 25, "deadline": 10.0, "timeout": 30.0, "told": True}
_KILL_EVERY: Final = 1.0
_WINDOW: Final = 5.0
"""Seconds that a window is long."""
_OVER: Final = 0.05
"""The share by which a window may be over the rate."""
_LIMIT: Final = 120.0
"""Seconds that a run may take beyond thrice the time that its rate asks for: it is given up then."""


def chaos(kind: str, here: Site, rows: int, per_second: float) -> dict[str, Any]:
    """Run it, and return the figures and the bars. A killed sender is replaced, until the first has ended by itself."""
    random = Random("chaos")  # noqa: S311  # no secret
    began = time.monotonic()
    limit = 3 * rows / per_second + _LIMIT
    middle = began + rows / per_second / 2
    ended = threading.Event()
    running: list[Process] = []
    accounts: list[dict[str, Any]] = []
    killed = 0
    restarted: float | None = None
    with Recorder() as gateway, ThreadPoolExecutor(_SENDERS) as threads:
        gateway.report()
        job = {**_JOB, "gateway": gateway.url, "rows": rows, "rate": per_second, "limit": limit}

        def send() -> None:
            while not ended.is_set():
                with here.sender(**job) as sender:
                    assert "ready" in (said := sender.result()), f"a sender said {said!r}"
                    sender.say()
                    running.append(sender)
                    account = sender.hear()
                    running.remove(sender)
                if account is not None:
                    accounts.append(account["told"])
                    return

        sending = [threads.submit(send) for _ in range(_SENDERS)]
        for one in sending:
            one.add_done_callback(lambda _: ended.set())
        while not ended.wait(_KILL_EVERY) and time.monotonic() < began + limit:
            if running:
                random.choice(running).kill()
                killed += 1
            if here.restart is not None and restarted is None and time.monotonic() > middle:
                since = time.monotonic()
                here.restart()
                restarted = time.monotonic() - since
        ended.set()
        for one in sending:
            one.result()
        seen = gateway.report()
    print(f"{kind}, chaos: {time.monotonic() - began:.0f} s, {killed} killed", flush=True)
    wrong = sum(_wrong(account, seen.sms, rows) for account in accounts)
    by_disposition = Counter(accounts[-1].values()) if accounts else Counter()
    most = max(seen.sms.values(), default=0)
    fullest = seen.fullest(_WINDOW)
    doubt = by_disposition["maybe_sent"]
    accounted = f"{rows:,} rows, {len(accounts)} accounts, {killed} killed, {doubt} in doubt, {wrong} wrong"
    rate = f"{fullest:.1f} ({fullest / per_second - 1:+.1%})"
    over = f"≤ {per_second:g} + {_OVER:.0%}"
    held = fullest <= per_second * (1 + _OVER)
    return {
        "rows": rows,
        "rate": per_second,
        "killed": killed,
        "accounts": len(accounts),
        "server_restart_seconds": restarted,
        "sms": seen.sms.total(),
        "by_disposition": by_disposition,
        "most_sms_to_a_number": most,
        "most_per_second_in_5_s": fullest,
        "bars": [
            Bar(f"{kind}: SMS per number", most == 1, f"{most}", "≤ 1"),
            Bar(f"{kind}: every row accounted for, in each account", bool(accounts) and not wrong, accounted),
            Bar(f"{kind}: requests/s in the fullest {_WINDOW:g} s", held, rate, over),
        ],
    }


def _wrong(account: dict[str, str], sms: Counter[int], rows: int) -> int:
    """Count the rows that an account leaves out, or whose disposition the gateway contradicts."""
    right = {row: ("maybe_sent", "sent" if sms[row] else "not_sent") for row in range(rows)}
    return sum(account.get(str(row)) not in words for row, words in right.items())
