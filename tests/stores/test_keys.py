"""The keys of records, and the tokens that tell whether their process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway360_async import PinRequest
from gateway360_async._runner import _keys
from gateway360_async._runner._keys import KeyBuilder, is_gone, new_token

SECRET, NUMBER = bytes(32), "34666666111"
KEYS = KeyBuilder(SECRET, "shop", "https://gateway.test/api")


def all_of(keys: KeyBuilder) -> list[bytes]:
    return [
        keys.record("1"),
        keys.record("2"),
        keys.row("1", NUMBER, 0),
        keys.row("1", NUMBER, 1),
        keys.row("2", NUMBER, 0),
        keys.row("", f"1{NUMBER}", 0),
        keys.cooldown(NUMBER),
        keys.count("per_number", NUMBER, 60.0),
        keys.count("per_number", NUMBER, 61.0),
        keys.count("per_number", NUMBER, None),
        keys.rate(),
        keys.batch("1"),
        keys.settings(),
    ]


def test_keys_of_other_kinds_secrets_and_gateways_differ():
    builders = [
        KEYS,
        KeyBuilder(b"1" * 32, "shop", "https://gateway.test/api"),
        KeyBuilder(SECRET, "shop2", "https://gateway.test/api"),
        KeyBuilder(SECRET, "shop", "http://sandbox.test/api"),
        KeyBuilder(SECRET, "shophttps", "://gateway.test/api"),
    ]
    keys = [key for builder in builders for key in all_of(builder)]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16}
    assert all_of(KeyBuilder(SECRET, "shop", "https://gateway.test/api")) == all_of(KEYS)


def test_fingerprint_is_of_what_goes_on_the_wire():
    request = PinRequest(NUMBER, "PIZZA")
    assert KEYS.fingerprint(request) == KEYS.fingerprint(PinRequest(NUMBER, "PIZZA", line_types="any"))
    assert KEYS.fingerprint(request) != KEYS.fingerprint(PinRequest(NUMBER, "PASTA"))


def test_account_tells_api_keys_apart_and_shows_none():
    assert KEYS.account("k3y") == KEYS.account("k3y") != KEYS.account("another")
    assert "k3y" not in KEYS.account("k3y")
    assert repr(KEYS) == "<KeyBuilder>"


def test_token_is_gone_once_its_process_has_ended():
    code = "from gateway360_async._runner._keys import new_token; print(new_token(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        token = process.stdout.readline().strip()
        assert not is_gone(token)
        process.kill()
        process.wait()
        assert is_gone(token)
    assert new_token() != new_token()
    assert not is_gone(new_token())


def test_token_of_a_process_id_that_was_given_again_is_gone(monkeypatch):
    token = new_token()
    monkeypatch.setattr(_keys, "_began", lambda _pid: "1")
    assert is_gone(token)
    monkeypatch.setattr(_keys, "_began", lambda _pid: "")  # a system that does not tell
    assert not is_gone(token)


@pytest.mark.parametrize("token", ["", "abc", "a.b-c-d", f"a.{'0' * 12}-1-1", f"a.{_keys._host()}-x-1"])
def test_token_that_says_nothing_of_this_machine_is_not_gone(token):
    assert not is_gone(token)


def test_token_whose_process_may_not_be_asked_is_not_gone(monkeypatch):
    def kill(_pid, _signal):
        raise PermissionError

    token = new_token()
    monkeypatch.setattr(os, "kill", kill)
    assert not is_gone(token)


def test_token_with_an_impossible_process_id_is_not_gone():
    assert not is_gone(f"a.{_keys._host()}-{10**30}-1")


def test_token_on_windows_is_never_gone(monkeypatch):
    token = new_token().rpartition("-")[0]
    monkeypatch.setattr(sys, "platform", "win32")
    assert not is_gone(f"{token}-1")


def test_host_and_beginning_need_no_proc(monkeypatch):
    def absent(*_args):
        raise OSError

    monkeypatch.setattr(Path, "read_text", absent)
    assert len(_keys._host.__wrapped__()) == 12
    assert _keys._began(os.getpid()) == ""
