"""The vendor's own snippets, as GATEWAY.md tells of them, on both published path prefixes; and common mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from gateway360_async.testing import sandbox_in_thread

PREFIXES = pytest.mark.parametrize("prefix", ["/api", "/api/3.0"])
FIELDS = {"msisdn": "34666666111", "sender": "GOOD PIZZA"}
JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@pytest.fixture
def gateway():
    with sandbox_in_thread() as made:
        yield made


def ask(gateway, prefix, headers, body=None, method="POST", operation="request"):
    """Ask as a script does that knows no client: status, and the answer's text."""
    fields = {"api_key": gateway.api_key, **FIELDS} if body is None else body
    request = urllib.request.Request(
        f"{gateway.base_url}{prefix}/2fa/{operation}", json.dumps(fields).encode(), headers, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


@PREFIXES
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: install Debian's package `curl`")
def test_curl_snippet_with_both_headers_sends(gateway, prefix):
    headers = [word for name, value in JSON.items() for word in ("-H", f"{name}: {value}")]
    fields = json.dumps({"api_key": gateway.api_key, **FIELDS})
    url = f"{gateway.base_url}{prefix}/2fa/request"
    asked = subprocess.run(
        ["curl", "-s", "-X", "POST", *headers, "-d", fields, url], check=True, capture_output=True, text=True
    )
    assert json.loads(asked.stdout) == {"status": "ok"}
    assert [message.msisdn for message in gateway.messages] == ["34666666111"]


@PREFIXES
def test_python_snippet_sends(gateway, prefix):
    assert ask(gateway, prefix, JSON) == (200, '{"status":"ok"}')


PHP = """
$fields = json_decode($argv[2], true);
$headers = array('Content-Type: application/json', 'Accept: application/json');
$curl = curl_init($argv[1]);
curl_setopt($curl, CURLOPT_POST, true);
curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($fields));
curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
if ($argv[3] === 'passed') curl_setopt($curl, CURLOPT_HTTPHEADER, $headers);
echo curl_exec($curl);
"""


def has_php():
    if shutil.which("php") is None:
        return False
    asked = subprocess.run(["php", "-r", "echo extension_loaded('curl');"], check=False, capture_output=True)
    return asked.stdout == b"1"


@PREFIXES
@pytest.mark.parametrize("headers", ["never passed", "passed"])
@pytest.mark.skipif(not has_php(), reason="no php: install Debian's packages `php-cli` and `php-curl`")
def test_php_snippet_sends_once_its_headers_are_passed(gateway, prefix, headers):
    """The vendor's makes the headers and never passes them: PHP's curl then posts as a form does."""
    url, fields = (
        f"{gateway.base_url}{prefix}/2fa/request",
        json.dumps({"api_key": gateway.api_key, **FIELDS}),
    )
    command = ["php", "-r", PHP, "--", url, fields, headers]
    asked = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert asked.get("error_id") == (None if headers == "passed" else "INVALID_CONTENT_TYPE")
    assert len(gateway.messages) == (headers == "passed")


@PREFIXES
def test_form_is_told_its_content_type(gateway, prefix):
    status, text = ask(gateway, prefix, {"Content-Type": "application/x-www-form-urlencoded"})
    assert (status, json.loads(text)["error_id"]) == (400, "INVALID_CONTENT_TYPE")
    assert gateway.messages == []


@PREFIXES
def test_visual_basic_snippet_without_accept_sends(gateway, prefix):
    assert ask(gateway, prefix, {"Content-Type": "application/json"})[0] == 200


@PREFIXES
@pytest.mark.parametrize("operation", ["request", "verify"])
def test_get_with_a_body_is_told_to_post(gateway, prefix, operation):
    status, text = ask(gateway, prefix, JSON, method="GET", operation=operation)
    assert (status, text) == (405, "This is a GET: send the fields as JSON in the body of a POST.")


@PREFIXES
def test_pin_params_as_a_list_are_told_to_be_an_object(gateway, prefix):
    body = {"api_key": gateway.api_key, **FIELDS, "pin_params": [{"length": 8}]}
    status, text = ask(gateway, prefix, JSON, body)
    assert status == 400
    assert json.loads(text)["error_msg"] == "pin_params is not an object, but a list."


def test_name_that_is_allowed_may_be_asked_and_another_may_not():
    with sandbox_in_thread(allowed_hosts=["Gateway360"]) as gateway:
        for host, expected in {"gateway360": 200, "gateway360:8360": 200, "evil.example": 421}.items():
            assert ask(gateway, "/api", {**JSON, "Host": host})[0] == expected
