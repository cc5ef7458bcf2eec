"""The extra that may be missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway360_async import transports


def test_aiohttp_is_not_imported_until_it_is_asked_for():
    code = "import sys, gateway360_async, gateway360_async.transports; print('aiohttp' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("missing", "error", "says"),
    [
        ("aiohttp", ImportError, r"install gateway360-async\[aiohttp\]"),
        ("gateway360_async._errors", ImportError, "_errors"),
    ],
    ids=["the extra", "a fault of our own"],
)
def test_a_missing_extra_says_what_to_install(missing, error, says, monkeypatch):
    monkeypatch.delitem(sys.modules, "gateway360_async.transports._aiohttp", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(error, match=says):
        _ = transports.AiohttpTransport


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'CurlTransport'"):
        _ = transports.CurlTransport
