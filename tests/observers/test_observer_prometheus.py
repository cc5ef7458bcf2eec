"""Metrics, as Prometheus's own client library shows them."""

from __future__ import annotations

import gc
import weakref

import attrs
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.made_events import (
    LOST,
    NO_FUNDS,
    REFUSED,
    STRANGE,
    WRONG,
    call,
    cancelled,
    finished,
    progress,
    retried,
    started,
    tell,
)

from gateway360_async import ErrorId, FailureKind, InvalidConfiguration
from gateway360_async.observers import _measurements
from gateway360_async.observers.prometheus import PrometheusObserver


@pytest.fixture
def registry():
    return CollectorRegistry()


def shown(registry):
    """The page of a scrape: lines of name, labels in the order of their names, and value."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


def test_calls_attempts_and_retries_are_counted(registry):
    observer = PrometheusObserver(registry)
    tell(observer, retried(1), call(2, LOST), call(3, STRANGE), call(4, NO_FUNDS), cancelled(5))
    tell(observer, started(6), finished(6, coalesced=True, elapsed=2.0))
    tell(observer, started(7), finished(7, attrs.evolve(LOST, replayed=True)))
    tell(observer, started(8), call(9, WRONG, operation="verify_pin"))
    pin, verify = "operation=request_pin", "operation=verify_pin"
    calls, attempts = "gateway360_calls_total", "gateway360_attempts_total"
    took = "gateway360_call_duration_seconds"
    assert shown(registry) == {
        (calls, "disposition=sent", "kind=", pin, "shared=no"): 1,
        (calls, "disposition=sent", "kind=", pin, "shared=coalesced"): 1,
        (calls, "disposition=maybe_sent", "kind=disconnected", pin, "shared=no"): 1,
        (calls, "disposition=maybe_sent", "kind=disconnected", pin, "shared=replayed"): 1,
        (calls, "disposition=not_sent", "kind=other", pin, "shared=no"): 1,
        (calls, "disposition=not_sent", "kind=NOT_ENOUGH_BALANCE", pin, "shared=no"): 1,
        (calls, "disposition=unknown", "kind=cancelled", pin, "shared=no"): 1,
        (calls, "disposition=not_verified", "kind=", verify, "shared=no"): 1,
        ("gateway360_calls_in_flight", pin): 1,
        ("gateway360_calls_in_flight", verify): 0,
        (f"{took}_count", "disposition=sent", pin): 2,
        (f"{took}_sum", "disposition=sent", pin): 2.5,
        (f"{took}_count", "disposition=maybe_sent", pin): 2,
        (f"{took}_sum", "disposition=maybe_sent", pin): 0.5,
        (f"{took}_count", "disposition=not_sent", pin): 2,
        (f"{took}_sum", "disposition=not_sent", pin): 0.5,
        (f"{took}_count", "disposition=unknown", pin): 1,
        (f"{took}_sum", "disposition=unknown", pin): 0.25,
        (f"{took}_count", "disposition=not_verified", verify): 1,
        (f"{took}_sum", "disposition=not_verified", verify): 0.25,
        (attempts, "disposition=not_sent", "kind=connect", pin): 1,
        (attempts, "disposition=sent", "kind=", pin): 1,
        (attempts, "disposition=maybe_sent", "kind=disconnected", pin): 1,
        (attempts, "disposition=not_sent", "kind=other", pin): 1,
        (attempts, "disposition=not_sent", "kind=NOT_ENOUGH_BALANCE", pin): 1,
        (attempts, "disposition=unknown", "kind=cancelled", pin): 1,
        (attempts, "disposition=not_verified", "kind=", verify): 1,
        ("gateway360_retries_total", "kind=connect", pin): 1,
        ("gateway360_sms_total", "disposition=sent"): 1,
        ("gateway360_sms_total", "disposition=maybe_sent"): 1,
        ("gateway360_batches_in_progress",): 0,
    }


def test_pin_that_may_have_been_judged_is_no_sms(registry):
    tell(PrometheusObserver(registry), call(1, LOST, operation="verify_pin"))
    assert not [key for key in shown(registry) if key[0].startswith("gateway360_sms")]


def test_kind_of_a_failure_says_one_thing_only():
    own = {"other", "exception"}
    assert not own & {kind.value for kind in FailureKind}
    assert not (own | {"cancelled"}) & {one.value for one in ErrorId}


def test_batch_entries_are_counted_once(registry):
    observer = PrometheusObserver(registry)
    tell(observer, progress(1, 5), progress(2, 1, 1))

    def batches():
        return {key: value for key, value in shown(registry).items() if "batch" in key[0]}

    assert batches() == {
        ("gateway360_batch_entries_total", "disposition=sent"): 6,
        ("gateway360_batch_entries_total", "disposition=not_sent"): 1,
        ("gateway360_batches_in_progress",): 2,
        ("gateway360_batch_progress_entries", "disposition=sent"): 6,
        ("gateway360_batch_progress_entries", "disposition=not_sent"): 1,
        ("gateway360_batch_progress_entries", "disposition=maybe_sent"): 0,
    }
    tell(observer, progress(1, 7, finished=True), progress(2, 2, 1))
    assert batches() == {
        ("gateway360_batch_entries_total", "disposition=sent"): 9,
        ("gateway360_batch_entries_total", "disposition=not_sent"): 1,
        ("gateway360_batches_in_progress",): 1,
        ("gateway360_batch_progress_entries", "disposition=sent"): 2,
        ("gateway360_batch_progress_entries", "disposition=not_sent"): 1,
        ("gateway360_batch_progress_entries", "disposition=maybe_sent"): 0,
    }


def test_batches_in_progress_are_bounded(registry, monkeypatch):
    monkeypatch.setattr(_measurements, "_MOST_BATCHES", 3)
    tell(PrometheusObserver(registry), *(progress(batch_id, 1) for batch_id in range(10)))
    assert shown(registry)["gateway360_batches_in_progress",] == 3


def test_page_holds_no_number_and_no_foreign_text(registry):
    tell(PrometheusObserver(registry), retried(1), call(2, STRANGE), call(3, LOST))
    page = generate_latest(registry).decode()
    assert "gateway360_call_duration_seconds_bucket" in page
    assert 'le="30.0"' in page
    for text in ("34*****111", "34666666111", "SOMETHING_NEW", "what is it", "refused", "broke"):
        assert text not in page


def test_observers_of_one_registry_count_together(registry):
    tell(PrometheusObserver(registry), call(1))
    tell(PrometheusObserver(registry), call(2), call(3, REFUSED))
    other = CollectorRegistry()
    tell(PrometheusObserver(other), call(4))
    assert shown(registry)["gateway360_sms_total", "disposition=sent"] == 2
    assert shown(other)["gateway360_sms_total", "disposition=sent"] == 1


def test_default_registry_is_the_librarys():
    before = REGISTRY.get_sample_value("gateway360_sms_total", {"disposition": "sent"}) or 0
    tell(PrometheusObserver(), call())
    assert REGISTRY.get_sample_value("gateway360_sms_total", {"disposition": "sent"}) == before + 1


def test_dropped_registry_is_not_kept():
    registry = CollectorRegistry()
    PrometheusObserver(registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_taken_names_are_refused_without_a_trace(registry):
    Counter("gateway360_sms", "Somebody else's.", registry=registry)
    before = generate_latest(registry)
    for _ in range(2):
        with pytest.raises(InvalidConfiguration, match="registry: holds metrics of these names"):
            PrometheusObserver(registry)
    assert generate_latest(registry) == before
