"""Observers as users write and use them. It is type-checked (mypy and basedpyright, strict), not run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import assert_never, assert_type

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from gateway360_async import Disposition, Gateway360Client
from gateway360_async.observers import (
    AttemptFinished,
    AttemptStarted,
    BatchProgress,
    CallFinished,
    CallResult,
    CallStarted,
    Event,
    LoggingObserver,
    Observer,
    RetryWaiting,
)
from gateway360_async.observers.opentelemetry import OpenTelemetryObserver
from gateway360_async.observers.prometheus import PrometheusObserver


class Mine:
    def notify(self, event: Event) -> None:
        match event:
            case CallStarted(call_id=call_id, number=number, url=url):
                assert_type(call_id, int)
                assert_type(number, str)
                assert_type(url, str | None)
            case AttemptStarted(attempt=attempt):
                assert_type(attempt, int)
            case AttemptFinished(elapsed=elapsed, result=result, error=error):
                assert_type(elapsed, float)
                assert_type(result, CallResult | None)
                assert_type(error, type[BaseException] | None)
            case RetryWaiting(delay=delay, result=refused):
                assert_type(delay, float)
                assert_type(refused.disposition, Disposition)
            case CallFinished(coalesced=coalesced):
                assert_type(coalesced, bool)
            case BatchProgress(total=total, by_disposition=counts, finished=finished):
                assert_type(total, int)
                assert_type(counts, Mapping[Disposition, int])
                assert_type(finished, bool)
            case _:
                assert_never(event)


def watched(tracers: TracerProvider, meters: MeterProvider) -> list[Gateway360Client]:
    observers: list[Observer] = [
        Mine(),
        LoggingObserver(logging.getLogger("mine"), logging.DEBUG),
        OpenTelemetryObserver(tracers, meters),
        OpenTelemetryObserver(),
        PrometheusObserver(CollectorRegistry()),
        PrometheusObserver(),
    ]
    return [Gateway360Client(observer=observers), Gateway360Client(observer=Mine()), Gateway360Client()]
