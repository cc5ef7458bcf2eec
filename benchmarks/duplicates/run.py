"""The duplicate table: every contender against every fault, each contender and its gateways in processes of their own.

- Several contenders run at a time, for nearly all of a call is waiting. The calls of a cell are expected to be alike.
- "Refused" is real: the port is bound, and nothing listens until the parent asks for it.
- Over TLS a FIN comes after TLS's own farewell, as from any server that closes in good order. A RST is one on the wire
  there too, though Python's `ssl` may show it to the client as an end of the stream.
"""

import json
import logging
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import attrs

from .. import HOST
from ..gateway import End, Gateway, Plan, answer, authority, listen
from ..process import Process, Server, versions
from ..report import table
from ..worker import orders, say
from .contenders import CONTENDERS, PAUSE, TIMEOUT, TRIES

CALLS: Final = 3
"""Calls a cell."""
_AT_A_TIME: Final = 4
_LISTENS_AFTER: Final = 0.05
"""Seconds for which a port refuses, from the begin of a call: shorter than any pause that is set."""
_LIMIT: Final = 180.0
"""Seconds after which a contender's process is ended: several times what the slowest takes."""


# One answer that every contender's parser takes for a success: ours reads `status`, Twilio and Infobip their
# ids, Stainless's whatever there is, Vonage `request_id`, Sinch `id`.
_ACCEPTED: Final = {
    "status": "ok",
    "id": "01FC66621XXXXX119Z8PMV1QPQ",
    "sid": "VE00000000000000000000000000000000",
    "request_id": "c11236f4-00bf-4b89-84ba-88b25df97315",
    "pinId": "9C817C6F8AF3D48F9FE553282AFA2B67",
    "data": {"id": "12ade33a-21c0-473b-b055-b3c836e1c292"},
}
_OK: Final = answer(200, json.dumps(_ACCEPTED).encode())
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_TOO_MANY: Final = answer(429)


@attrs.frozen
class Fault:
    """The gateway's acts on a POST that was read whole: the answers, the last for ever, then the end of the connection."""

    name: str
    title: str
    answers: tuple[bytes, ...] = (b"",)
    end: End = "keep"
    repeatable: bool = False
    """A second POST is right, for the first was certainly not taken."""
    refused: bool = False
    """Nothing listens at first."""


FAULTS: Final = (
    Fault("silence", "answer never comes", end="stall"),
    Fault("rst", "RST after the request", end="rst"),
    Fault("fin", "FIN after the request", end="fin"),
    Fault("half", "FIN in mid-answer", (_OK[:-40],), "fin"),
    Fault("500", "500", (answer(500, b"oops", "text/plain"),)),
    Fault("502", "502, HTML", (answer(502, _HTML, "text/html"),)),
    Fault("503", "503", (answer(503),)),
    Fault("429-ok", "429, then ok", (_TOO_MANY, _OK), repeatable=True),
    Fault("refused-ok", "refused, then ok", (_OK,), repeatable=True, refused=True),
    Fault("ok", "ok", (_OK,)),
)


class _Faulty(Gateway):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault
        self.socket = socket.socket()
        self.socket.bind((HOST, 0))

    def read(self, head: bytes, body: bytes) -> Plan:
        super().read(head, body)
        answers = self._fault.answers
        return Plan(((0.0, answers[min(self.requests, len(answers)) - 1]),), self._fault.end)


async def serve(faults: list[int], *, tls: bool) -> None:
    """Serve one call of each fault, by its place in `FAULTS`.

    Say the ports, and the authority's PEM; then at each line listen on the port that it names, or report the counts.
    """
    context, pem = authority()
    secure = context if tls else None
    gateways = [_Faulty(FAULTS[fault]) for fault in faults]
    for gateway, fault in zip(gateways, faults, strict=True):
        if not FAULTS[fault].refused:
            await listen(gateway, tls=secure, sock=gateway.socket)
    say(ports=[gateway.socket.getsockname()[1] for gateway in gateways], authority=pem)
    async for order in orders():
        if "listen" in order:
            late = gateways[order["listen"]]
            await listen(late, tls=secure, sock=late.socket)
        say(posts=[gateway.requests for gateway in gateways])


def run(told: Callable[[str], None], names: Iterable[str] = CONTENDERS, count: int = CALLS) -> dict[str, Any]:
    """Make the table, with `count` calls a cell. `told` hears of each contender that is done."""

    def row(name: str) -> dict[str, Any]:
        found = _contend(name, count)
        told(f"duplicates: {name}: {found.get('not_available') or found.get('failed') or 'done'}")
        return {"contender": name, "versions": versions(CONTENDERS[name].packages), **found}

    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        rows = list(threads.map(row, names))
    return {"calls": count, "timeout": TIMEOUT, "tries": TRIES, "pause": PAUSE, "rows": rows}


def _contend(name: str, count: int) -> dict[str, Any]:
    tls = CONTENDERS[name].tls
    faults = [fault for fault in range(len(FAULTS)) for _ in range(count)]
    told: list[str] = []
    # The first gateway is for the call that does not count.
    servers = Server("duplicates.run:serve", faults=[len(FAULTS) - 1, *faults], tls=tls)
    with servers, tempfile.NamedTemporaryFile("w", suffix=".pem") as bundle:
        bundle.write(servers.hello["authority"])
        bundle.flush()
        job = {
            "function": "duplicates.run:calls",
            "contender": name,
            "urls": [f"http{'s' if tls else ''}://{HOST}:{port}" for port in servers.hello["ports"]],
            # requests reads the one, and httpx and the ssl module the other.
            "environment": dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), bundle.name),
        }
        with Process(**job, limit=_LIMIT) as worker:
            while len(told) < len(faults):
                step = worker.result()
                if "begin" in step:
                    if FAULTS[faults[step["begin"]]].refused:
                        time.sleep(_LISTENS_AFTER)
                        servers.ask(listen=step["begin"] + 1)
                elif "told" in step:
                    told.append(step["told"])
                else:
                    return step
        posts = servers.ask()["posts"][1:]
    cells: dict[str, dict[str, list[Any]]] = {fault.name: {"posts": [], "told": []} for fault in FAULTS}
    for fault, sent, word in zip(faults, posts, told, strict=True):
        cells[FAULTS[fault].name]["posts"].append(sent)
        cells[FAULTS[fault].name]["told"].append(word)
    return {"cells": cells}


async def calls(contender: str, urls: list[str]) -> None:
    """Make a contender's calls, each with a fresh client, and tell of each its begin and its end.

    The first goes to a gateway without a fault and does not count: what a contender imports or prepares with its first
    request is no part of a fault.
    """
    # Some contenders log much about a fault.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for case, url in enumerate(urls):
        async with CONTENDERS[contender].make(url) as call:
            if not case:
                await call()
                continue
            say(begin=case - 1)
            try:
                told = await call()
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is what the caller is told
                told = f"raised {type(exc).__name__}"
        say(told=told)


def markdown(results: dict[str, Any]) -> str:
    """Return the table, and what has to be known to read it."""
    head = ["", *(fault.title for fault in FAULTS)]
    rows = (_cells(row) for row in results["rows"])
    return f"{_before(results)}\n\n{table(head, rows)}\n\n{_after(results)}"


def files(results: dict[str, Any]) -> dict[str, str | dict[str, Any]]:
    """Return the table's file, and the one that it is made of."""
    return {"duplicates.json": results, "duplicates.md": markdown(results)}


def _before(results: dict[str, Any]) -> str:
    return (
        "### Duplicates\n\n"
        "How many POSTs a server on loopback read whole for one logical call, "
        f"{results['calls']} calls a cell, a fresh client each. "
        f"A timeout of {results['timeout']:g} s for all; where the user sets it, {results['tries']} tries and a "
        f"pause of about {results['pause']:g} s; an SDK's own retries as delivered. "
        "**Bold: sent again although the first may have been taken, so up to that many paid SMS.** "
        "After a 429 a second POST is right, and after a refused connection the first: 0 there means that "
        "nothing was sent, and the call failed. What an SDK's vendor makes of a repeated request is not in the "
        "table; Gateway360 has nothing to know it by. Ours also says what it reports."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    contender = CONTENDERS[row["contender"]]
    missing = row.get("not_available") or row.get("failed")
    if missing:
        word = "not available" if "not_available" in row else "failed"
        return [contender.label, f"{word}: {missing}", *("–" for _ in FAULTS[1:])]
    ours = row["contender"].startswith("ours")
    return [contender.label, *(_cell(fault, row["cells"][fault.name], told=ours) for fault in FAULTS)]


def _cell(fault: Fault, cell: dict[str, Any], *, told: bool) -> str:
    low, high = min(cell["posts"]), max(cell["posts"])
    text = f"{low}" if low == high else f"{low}–{high}"
    if high > 1 and not fault.repeatable:
        text = f"**{text}**"
    if told:
        words: list[str] = cell["told"]
        text += ", " + " or ".join(dict.fromkeys(word.replace("_", " ") for word in words))
    return text


def _after(results: dict[str, Any]) -> str:
    notes = [
        f"{contender.label.strip('*')}: {contender.note}"
        for row in results["rows"]
        if (contender := CONTENDERS[row["contender"]]).note
    ]
    versions = {name: found for row in results["rows"] for name, found in row["versions"].items()}
    named = ", ".join(f"{name} {found}" for name, found in sorted(versions.items()))
    return f"{'; '.join(notes)}.\n\n{named}.\n"
