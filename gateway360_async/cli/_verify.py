"""`gateway360 verify`: whether a PIN is the one that a number was sent.

Rules of this module:

- The PIN is a secret as the key is: it is asked for without an echo, or read from stdin, and never an argument.
- The number is checked before the PIN is asked for.
"""

from __future__ import annotations

import json
import sys
from typing import Any, assert_never

import attrs
import typer

from gateway360_async import (
    ApiError,
    Disposition,
    Gateway360Client,
    NotVerified,
    TransportFailure,
    Verified,
    VerifyResult,
)
from gateway360_async._numbers import LineTypes, parse_msisdn
from gateway360_async._redaction import printable

from ._problems import FAILED, OK, UsageProblem, api_key, ask, complain
from ._show import as_json

__all__ = ["VerifyOptions", "verify"]


@attrs.frozen
class VerifyOptions:
    """The options of the command, as they were typed."""

    msisdn: str
    region: str | None
    line_types: LineTypes
    deadline: float
    base_url: str | None
    path_prefix: str
    json: bool


async def verify(options: VerifyOptions) -> int:
    """Verify one PIN. Gives the exit code."""
    client = Gateway360Client(
        api_key(),
        region=options.region,
        line_types=options.line_types,
        base_url=options.base_url,
        path_prefix=options.path_prefix,
        deadline=options.deadline,
    )
    number = parse_msisdn(options.msisdn, region=options.region, line_types=options.line_types)
    async with client:
        result = await client.verify_pin(number, _pin())
    if options.json:
        typer.echo(json.dumps(_as_json(result)))
    elif isinstance(result, Verified):
        typer.echo(str(result))
    else:
        complain(_line(result))
    return OK if isinstance(result, Verified) else FAILED


def _pin() -> str:
    pin = ask("PIN: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not pin:
        raise UsageProblem("no PIN: type it where it is asked for, or write it to stdin")
    return pin


def _line(result: NotVerified | ApiError | TransportFailure) -> str:
    match result:
        case NotVerified():
            return str(result)
        case ApiError():
            why = f"{result.error_id}: {result.error_msg}" if result.error_msg else str(result.error_id)
        case TransportFailure():
            why = f"{result.kind}: {result.detail}" if result.detail else str(result.kind)
        case _:
            assert_never(result)
    counted = "was not counted" if result.disposition is Disposition.NOT_SENT else "may have been counted"
    return printable(f"not known, and the try {counted}: {why}")


def _as_json(result: VerifyResult) -> dict[str, Any]:
    if isinstance(result, (ApiError, TransportFailure)):
        return {"verified": None} | as_json(result)
    fields = attrs.asdict(result) | {"elapsed": round(result.elapsed, 6)}
    return {"result": type(result).__name__, "verified": isinstance(result, Verified)} | fields
