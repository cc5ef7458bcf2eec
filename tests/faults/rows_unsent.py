"""Rows whose request certainly was not sent: the call ends, or tries again, before the request's first byte."""

from __future__ import annotations

import sys
from typing import Any

import httpx
from acts_unsent import (
    after_the_end_of_an_idle_connection,
    as_the_connection_ends,
    behind_another,
    behind_another_past_its_deadline,
    behind_one_that_ends,
    in_a_child,
    in_another_loop,
    left_in_the_handshake,
    past_the_deadline_in_a_handshake,
    past_the_timeout_of_each_handshake,
    when_closed,
)
from loopback import silence
from matrix import PLAIN, TLS, Row
from scenes import Setting, as_time_passes, serving
from scenes_unsent import (
    another_name,
    at_once,
    close_by_fin,
    close_by_rst,
    full_backlog,
    hello_and_fin,
    hello_and_plain_text,
    hello_and_rst,
    no_name,
    nobody_listens,
    one_place_held,
    refusing_proxy,
    speak,
    stalls,
    tls_by_hand,
    tls_that_speaks_first,
    tls_wanting_a_certificate,
    untrusted,
)

from gateway360_async import ClientClosed, Disposition, FailureKind, WrongEventLoop
from gateway360_async.transports import Phase


def _row(
    fault: str,
    scene: Setting,
    kinds: set[FailureKind] | type[Exception],
    *,
    retried: bool = False,
    **more: Any,
) -> Row:
    said = kinds if isinstance(kinds, type) else Disposition.NOT_SENT
    return Row(
        fault, scene, Phase.UNSENT, said, () if isinstance(kinds, type) else kinds, retried=retried, **more
    )


def _mended(fault: str, scene: Setting, act: Any, **more: Any) -> Row:
    return Row(fault, scene, Phase.ANSWERED, Disposition.SENT, posts=1, act=act, **more)


one_place = {"concurrency": 1}
HELLO: dict[str, Any] = {"layers": ("TLS 1.3",)}  # a client's first words are the same in both versions

LOST_IN_THE_PROXY = {
    # The proxy has taken the request: its word is an answer, and not the gateway's.
    "proxy, plain": {
        "phase": Phase.ANSWERED,
        "disposition": Disposition.MAYBE_SENT,
        "kinds": {FailureKind.HTTP_STATUS},
        "retried": False,
    },
    "proxy, TLS": {"kinds": {FailureKind.PROXY}, "retried": False},
}

RETRIED = (
    _row(
        "name not resolved, for now",
        no_name,
        {FailureKind.CONNECT},
        retried=True,
        over=LOST_IN_THE_PROXY,
    ),
    _row(
        "connection refused",
        nobody_listens,
        {FailureKind.CONNECT},
        retried=True,
        over=LOST_IN_THE_PROXY,
    ),
    *(
        [
            _row(
                "connect timeout: full backlog",
                full_backlog,
                {FailureKind.CONNECT},
                retried=True,
                act=as_time_passes(1.5),
                over={
                    "proxy, plain": {
                        "phase": Phase.SENT,
                        "disposition": Disposition.MAYBE_SENT,
                        "kinds": {FailureKind.TIMEOUT},
                        "retried": False,
                    },
                },
            )
        ]
        if sys.platform == "linux"  # other kernels let more in, or refuse
        else []
    ),
    _row(
        "TLS handshake stalls",
        stalls(timeout=httpx.Timeout(10, connect=1, pool=None)),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        act=past_the_timeout_of_each_handshake,
        **HELLO,
    ),
    _row(
        "FIN in the TLS handshake",
        tls_by_hand(hello_and_fin),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        **HELLO,
    ),
    _row(
        "RST in the TLS handshake",
        tls_by_hand(hello_and_rst),
        {FailureKind.TLS},
        retried=True,
        recovers=False,
        **HELLO,
    ),
    *(
        _row(
            f"{fault} before the request",
            at_once(behave),
            {FailureKind.CONNECT},
            retried=True,
            layers=PLAIN,
            without={"proxy": "the proxy connects once it has the request"},
        )
        for fault, behave in (
            ("an answer", speak),
            ("FIN", close_by_fin),
            ("RST", close_by_rst),
        )
    ),
    _row(
        "an answer before the request, in the handshake's last segment",
        tls_that_speaks_first,
        {FailureKind.CONNECT, FailureKind.TLS},  # by DirectTransport: it was part of the handshake
        retried=True,
        recovers=False,
        layers=("TLS 1.2",),  # in 1.3 the client has the last word
    ),
    _row(
        "no place within the pool timeout",
        serving(silence, timeout=httpx.Timeout(20, pool=1), **one_place),
        {FailureKind.POOL},
        retried=True,
        act=behind_another,
        layers=PLAIN,  # nothing is connected
    ),
)

TRANSPARENT = (
    _mended("idle connection closed, and seen", serving(), after_the_end_of_an_idle_connection),
    _mended(
        "idle connection closed, in the kernel",
        serving(),
        as_the_connection_ends,
        without={
            "proxy": "it is in the proxy's kernel, and no client can know of it before its request has gone"
        },
    ),
    _mended("a place, within the pool timeout", one_place_held, behind_one_that_ends),
)

FINAL = (
    _row("untrusted certificate", untrusted, {FailureKind.TLS_REFUSED}, recovers=False, layers=TLS),
    _row("wrong host name", another_name, {FailureKind.TLS_REFUSED}, recovers=False, layers=TLS),
    _row(
        "plain text on a TLS port",
        tls_by_hand(hello_and_plain_text),
        {FailureKind.TLS_REFUSED},
        recovers=False,
        **HELLO,
    ),
    _row(
        "no client certificate, TLS 1.2",
        tls_wanting_a_certificate,
        {FailureKind.TLS_REFUSED},
        recovers=False,
        layers=("TLS 1.2",),
    ),
    _row(
        "proxy answers CONNECT with 407",
        refusing_proxy,
        {FailureKind.PROXY},
        recovers=False,
        layers=TLS,
        without={"direct": "it knows no proxy"},
    ),
    # The client says so before it asks its transport.
    _row("client closed", serving(), ClientClosed, act=when_closed, layers=PLAIN),
    _row("another event loop", serving(), WrongEventLoop, act=in_another_loop, layers=PLAIN),
    _row("after a fork", serving(), WrongEventLoop, act=in_a_child, layers=PLAIN),
    _row(
        "cancelled in the handshake",
        stalls(),
        {FailureKind.CANCELLED},
        act=left_in_the_handshake,
        recovers=False,
        **HELLO,
    ),
    _row(
        "deadline in the handshake",
        stalls(),
        {FailureKind.DEADLINE},
        act=past_the_deadline_in_a_handshake,
        recovers=False,
        **HELLO,
    ),
    _row(
        "deadline while waiting for a place",
        serving(silence, timeout=httpx.Timeout(20, pool=None), **one_place),
        {FailureKind.DEADLINE},
        act=behind_another_past_its_deadline,
        layers=PLAIN,  # nothing is connected
    ),
)
