"""`gateway360 request`: one PIN to one number."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs
import typer

from gateway360_async import Gateway360Client, Ok
from gateway360_async._models import request_from
from gateway360_async._numbers import LineTypes, checked_region, number_reader

from ._problems import FAILED, OK, api_key, complain
from ._show import as_json

__all__ = ["RequestOptions", "request"]


@attrs.frozen
class RequestOptions:
    """The options of the command, as they were typed; `fields` are those of a request."""

    fields: Mapping[str, object]
    region: str | None
    line_types: LineTypes
    deadline: float
    base_url: str | None
    path_prefix: str
    json: bool


async def request(options: RequestOptions) -> int:
    """Send one request. Gives the exit code."""
    reader = number_reader(checked_region(options.region), options.line_types)
    pin_request = request_from(options.fields, reader=reader)
    client = Gateway360Client(
        api_key(), base_url=options.base_url, path_prefix=options.path_prefix, deadline=options.deadline
    )
    async with client:
        result = await client.send(pin_request)
    sent = isinstance(result, Ok)
    if options.json:
        typer.echo(json.dumps(as_json(result)))
    elif sent:
        typer.echo(str(result))
    else:
        complain(result)
    return OK if sent else FAILED
