"""`gateway360 request` and `gateway360 verify`: one call, one result.

Invariants:

- The PIN is a secret as the key is: it is asked for without an echo, or read from stdin, and never an argument.
- The number is checked before the PIN is asked for.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import attrs
import typer

from gateway360_async import (
    ApiError,
    Disposition,
    Gateway360Client,
    NotVerified,
    Ok,
    TransportFailure,
    Verified,
    VerifyResult,
)
from gateway360_async._models import request_from
from gateway360_async._numbers import checked_region, number_reader, parse_msisdn
from gateway360_async._redaction import printable

from ._audit import why
from ._csv import FIELDS, nested
from ._options import RequestOptions, VerifyOptions
from ._problems import FAILED, OK, UsageProblem, api_key, ask, complain
from ._results import as_json

__all__ = ["request", "verify"]


async def request(options: RequestOptions) -> int:
    """Send one PIN to one number.

    The key comes from GATEWAY360_API_KEY, or is asked for.

    Exit code: 0 sent, 1 not sent or perhaps, 2 usage.
    """
    reader = number_reader(checked_region(options.region), options.line_types)
    given = {column: getattr(options, column.replace("_params.", "_")) for column in FIELDS}
    columns = {column: value for column, value in given.items() if value is not None}
    pin_request = request_from(nested(columns), reader=reader)
    async with _client(options) as client:
        result = await client.send(pin_request)
    return _say(options, as_json(result), str(result), good=isinstance(result, Ok))


async def verify(options: VerifyOptions) -> int:
    """Verify the PIN that a number was sent. It is asked for, or read from stdin.

    Each try counts: a PIN is void after its last. The gateway's answers are
    published in part only, so this command is provisional.

    Exit code: 0 verified, 1 not verified or not known, 2 usage.
    """
    client = _client(options)
    number = parse_msisdn(options.msisdn, region=options.region, line_types=options.line_types)
    async with client:
        result = await client.verify_pin(number, _pin())
    return _say(options, _as_json(result), _text(result), good=isinstance(result, Verified))


def _client(options: RequestOptions | VerifyOptions) -> Gateway360Client:
    return Gateway360Client(
        api_key(),
        region=options.region,
        line_types=options.line_types,
        base_url=options.base_url,
        path_prefix=options.path_prefix,
        deadline=options.deadline,
    )


def _say(options: RequestOptions | VerifyOptions, fields: dict[str, Any], text: str, *, good: bool) -> int:
    if options.json or good:
        typer.echo(json.dumps(fields) if options.json else text)
    else:
        complain(text)
    return OK if good else FAILED


def _pin() -> str:
    pin = ask("PIN: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not pin:
        raise UsageProblem("no PIN: type it when it is asked for, or write it to stdin")
    return pin


def _text(result: VerifyResult) -> str:
    if isinstance(result, (Verified, NotVerified)):
        return str(result)
    detail = result.error_msg if isinstance(result, ApiError) else result.detail
    reason = f"{why(result)}: {detail}" if detail else why(result)
    counted = "was not counted" if result.disposition is Disposition.NOT_SENT else "may have been counted"
    return printable(f"not known, and the try {counted}: {reason}")


def _as_json(result: VerifyResult) -> dict[str, Any]:
    if isinstance(result, (ApiError, TransportFailure)):
        return {"verified": None} | as_json(result)
    fields = attrs.asdict(result) | {"elapsed": round(result.elapsed, 6)}
    return {"result": type(result).__name__, "verified": isinstance(result, Verified)} | fields
