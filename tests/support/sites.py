"""The recipes as processes of their own, and how a browser or the gateway asks them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

RECIPES = Path(__file__).parents[2] / ".docs" / "recipes"


def free_port():
    """Find a port below those that systems give to sockets without one: another test's server cannot get it meanwhile."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def environment(gateway, port, **changed):
    return {
        **os.environ,
        "GATEWAY360_BASE_URL": gateway.base_url,
        "GATEWAY360_API_KEY": gateway.api_key,
        "SMS_REPORT_URL": f"http://127.0.0.1:{port}/hooks/sms",
        "SMS_REPORT_SECRET": "a-s3cret-of-the-tests",
        **changed,
    }


@contextlib.contextmanager
def running(gateway, *command, port=1):
    """Run a program in the folder of the recipes."""
    with subprocess.Popen([sys.executable, *command], cwd=RECIPES, env=environment(gateway, port)) as program:
        try:
            yield program
        finally:
            program.terminate()
            program.wait()


@contextlib.contextmanager
def served(gateway, *command):
    """Run the site with a command that has `PORT` in it, and give its URL."""
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in command]
    with running(gateway, *command, port=port) as server:
        while True:
            assert server.poll() is None, "the server has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


def post(url, body):
    try:
        content_type = "application/json" if body[:1] in (b"{", b"[") else "application/x-www-form-urlencoded"
        request = urllib.request.Request(url, body, {"content-type": content_type}, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def prove(gateway, url, *views, encode=urllib.parse.urlencode):
    """Prove that a site sends one SMS to a number, takes its report, and has an answer for each outcome."""

    def sign_up(url, number):
        status, text = post(url, encode({"msisdn": number}).encode())
        return status, json.loads(text)

    answers = [sign_up(f"{url}/{view}", "666 666 111") for view in views * 2]
    assert answers == [(202, {"next": "type the PIN of the SMS"})] * 2 * len(views)
    assert [message.msisdn for message in gateway.messages] == ["34666666111"]
    report = json.dumps(gateway.report_json(gateway.messages[0])).encode()
    assert post(gateway.messages[0].report_url, report)[0] == 204
    assert post(f"{url}/hooks/sms/made-up", report)[0] == 403
    assert post(gateway.messages[0].report_url, b"[{}]")[0] == 400
    for index, view in enumerate(views):
        assert sign_up(f"{url}/{view}", "x")[0] == 422
        assert sign_up(f"{url}/{view}", "+44 7911 123456")[0] == 403
        gateway.throttle_next()
        assert sign_up(f"{url}/{view}", "666 666 333")[0] == 202
        gateway.lose_next_answer()
        status, said = sign_up(f"{url}/{view}", f"666 666 11{2 + index}")
        assert (status, said) == (202, {"next": "wait a minute for the SMS, and type its PIN"})
        balance, gateway.balance = gateway.balance, 0
        assert sign_up(f"{url}/{view}", "666 666 444")[0] == 503
        gateway.balance = balance
