"""Results as the text of a record, and the results that records stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, Final, cast

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union

from .._results import (
    ApiError,
    Disposition,
    ErrorId,
    ErrorScope,
    FailureKind,
    Ok,
    PinResult,
    TransportFailure,
    known_error_id,
)
from ..stores._base import Answer

__all__ = [
    "in_doubt",
    "is_final",
    "not_sent",
    "of_resend",
    "read_result",
    "result_from_fields",
    "result_of",
    "result_to_fields",
    "write_result",
]

_rest_of: Final = attrgetter("attempts", "replayed", "report_id", "sms_id")
_USUAL: Final = _rest_of(Ok())


@cache
def _converter(*, whole: bool) -> Converter:
    converter = Converter(omit_if_default=not whole)
    converter.register_unstructure_hook(StrEnum, attrgetter("value"))
    converter.register_structure_hook(ErrorId | str, lambda value, _: known_error_id(value))
    converter.register_unstructure_hook(
        TransportFailure,
        make_dict_unstructure_fn(
            TransportFailure, converter, _cattrs_omit_if_default=not whole, cause=override(omit=True)
        ),
    )
    converter.register_structure_hook(
        TransportFailure, make_dict_structure_fn(TransportFailure, converter, cause=override(omit=True))
    )
    configure_tagged_union(PinResult, converter, tag_name="result")
    return converter


def result_to_fields(result: PinResult, *, whole: bool = True) -> dict[str, Any]:
    """Make plain JSON of a result. Its texts hold no number: the client has masked them.

    Args:
        result: The result.
        whole: Whether to keep the fields too that have their defaults. Without them an `Ok` is so short that Redis
            keeps its record in one piece, in half the memory.
    """
    fields: dict[str, Any] = _converter(whole=whole).unstructure(result, unstructure_as=PinResult)
    return fields


def result_from_fields(fields: Mapping[str, object]) -> PinResult:
    """Read the fields of `result_to_fields`. Raise `ValueError`, or an error of cattrs, for anything else."""
    # Typed for classes only, cattrs' `structure` takes a union all the same.
    return cast("PinResult", cast("Any", _converter(whole=True).structure)(fields, PinResult))


def write_result(result: PinResult) -> str:
    """Make the JSON of a result, without the fields that have their defaults."""
    if type(result) is Ok and _rest_of(result) == _USUAL:
        return f'{{"elapsed":{result.elapsed!r},"result":"Ok"}}'  # as nearly all are: a tenth of the time
    return json.dumps(result_to_fields(result, whole=False), separators=(",", ":"))


def read_result(text: str) -> PinResult:
    """Read the JSON of `write_result`. Raise as `result_from_fields`, and `ValueError` for text that is no JSON."""
    return result_from_fields(json.loads(text))


def is_final(result: PinResult) -> bool:
    """Say whether sending the request again could only send a second SMS, or be refused again.

    A request that was not sent for a passing reason (no connection, no balance, a halted batch) is not final.
    """
    if isinstance(result, Ok) or result.disposition is Disposition.MAYBE_SENT:
        return True
    # A published refusal of the request itself, or of its number, would only be repeated.
    return (
        isinstance(result, ApiError)
        and isinstance(result.error_id, ErrorId)
        and result.scope in (ErrorScope.REQUEST, ErrorScope.NUMBER)
    )


def in_doubt(detail: str, report_id: str | None) -> TransportFailure:
    """Make the result of a request that may have been sent by another holder of its record."""
    return TransportFailure(
        FailureKind.INTERRUPTED, Disposition.MAYBE_SENT, detail=detail, attempts=0, report_id=report_id
    )


def not_sent(kind: FailureKind, detail: str) -> TransportFailure:
    """Make the result of a request that certainly was not sent."""
    return TransportFailure(kind, Disposition.NOT_SENT, detail=detail, attempts=0)


def result_of(answer: Answer) -> PinResult | None:
    """Read the result of a record; `None`: it has none. One that cannot be read may have been sent."""
    if answer.result is None:
        return None
    try:
        return read_result(answer.result)
    except Exception:  # noqa: BLE001  # whatever cattrs or json makes of it: another version may have written it
        return in_doubt("its record cannot be read", answer.report_id)


def of_resend(result: PinResult, report_id: str | None) -> PinResult:
    """Make the result of a resend: if it was not sent, the request may have been sent before.

    Args:
        result: The resend's own result.
        report_id: The id of the delivery report of the request from before.
    """
    if isinstance(result, Ok) or result.disposition is not Disposition.NOT_SENT:
        return result
    return TransportFailure(
        FailureKind.INTERRUPTED,
        Disposition.MAYBE_SENT,
        result.http_status,
        f"an earlier run may have sent it; this time: {result}",
        result.attempts,
        result.elapsed,
        retry_after=result.retry_after,
        report_id=report_id,
    )
