"""The client's settings: the accepted ones, the refused ones by name, and that no error shows the key."""

import logging
import math

import httpx
import httpx2
import pytest
from support.cases import each

from gateway360_async import InvalidConfiguration, RetryPolicy
from gateway360_async._config import (
    API_KEY_VARIABLE,
    BASE_URL_VARIABLE,
    LOG_VARIABLE,
    checked_concurrency,
    checked_cooldown,
    checked_deadline,
    checked_instance,
    checked_rate,
    checked_sender,
    checked_timeout,
    default_timeout,
    endpoint,
    read_api_key,
    read_log_level,
)

KEY = "sk-live-9f8e7d6c5b4a"
PUBLISHED = "https://api.gateway360.com/api/2fa/request"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("GATEWAY360_API_KEY", raising=False)
    monkeypatch.delenv("GATEWAY360_BASE_URL", raising=False)


def url_of(base_url=None, path_prefix="/api", *, allow_insecure=False):
    return endpoint(base_url, path_prefix, "/2fa/request", allow_insecure=allow_insecure)


def refusal(setting, call, *args, **options):
    """Call with a setting that must be refused by its name, and give the error."""
    with pytest.raises(InvalidConfiguration) as caught:
        call(*args, **options)
    assert caught.value.setting == setting
    return caught.value


def refused_key(key):
    """The error is returned, so that no frame that holds the key is in its traceback."""
    error = read_api_key(key)
    assert isinstance(error, InvalidConfiguration)
    assert error.setting == "api_key"
    assert KEY[:4] not in f"{error} {error!r}"
    return error


# api_key and sender


@each("key", ["k", KEY, "with space", "\u00e9\u00f1", "*" * 4096], ids=ascii)
def test_api_key_of_printable_text_is_wrapped_as_it_is(key):
    assert read_api_key(key).reveal() == key


def test_api_key_of_the_environment_stands_in_for_none(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    assert read_api_key(None).reveal() == KEY
    assert read_api_key("given").reveal() == "given"
    assert refused_key("").problem == "is empty"
    monkeypatch.setenv(API_KEY_VARIABLE, f"{KEY}\n")
    refused_key(None)
    monkeypatch.setenv(API_KEY_VARIABLE, "")
    refused_key(None)


def test_api_key_missing_is_refused_with_both_ways_to_give_it():
    error = refused_key(None)
    assert "`api_key`" in error.expected
    assert "GATEWAY360_API_KEY" in error.expected


STRAY = ["{}\n", "{} ", " {}", "\t{}", "{}\r\n", "{}\x00", "a\n{}", "{}\u00a0", "{}\ufeff", "{}\ud800"]


@each("key", [*(form.format(KEY) for form in STRAY), " ", "\n"], ids=ascii)
def test_api_key_with_stray_characters_is_not_echoed(key):
    refused_key(key)


@each("value", [KEY.encode(), 12345, True, [KEY], {"key": KEY}, 0, False], ids=repr)
def test_api_key_of_another_type_is_not_echoed(value):
    assert "12345" not in str(refused_key(value))


@each("sender", [None, "GOOD PIZZA", "123456789012345"])
def test_default_sender_by_the_rule_of_requests_is_kept(sender):
    assert checked_sender(sender) == sender


@each("sender", ["", " ", "ABCDEFGHIJKL", "1234567890123456", "A\nB", 5, True, b"PIZZA"])
def test_default_sender_against_the_rule_is_refused(sender):
    refusal("sender", checked_sender, sender)


# base_url and path_prefix


@each(
    ("path_prefix", "path"),
    [
        *(("/api", "/api"), ("/api/", "/api"), ("/api/3.0", "/api/3.0"), ("/api/3.0//", "/api/3.0")),
        *(("", ""), ("/", "")),
    ],
)
@each(
    ("base_url", "start"),
    [
        (None, "https://api.gateway360.com"),
        ("https://api.gateway360.com/", "https://api.gateway360.com"),
        ("https://proxy.example/gateway", "https://proxy.example/gateway"),
        ("https://proxy.example:8443/a/b/", "https://proxy.example:8443/a/b"),
        ("HTTPS://API.Example:443", "https://api.example"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        (httpx.URL("https://api.example/x"), "https://api.example/x"),
        *((f"https://api.example/a{escape}b",) * 2 for escape in ("%2F", "%3F", "%23", "%25", "%0A")),
    ],
    ids=str,
)
def test_url_is_base_then_prefix_then_path(base_url, start, path_prefix, path):
    assert url_of(base_url, path_prefix) == f"{start}{path}/2fa/request"


def test_base_url_of_the_environment_stands_in_for_none(monkeypatch):
    assert url_of() == PUBLISHED
    monkeypatch.setenv(BASE_URL_VARIABLE, "https://staging.example")
    assert url_of() == "https://staging.example/api/2fa/request"
    assert url_of("https://given.example") == "https://given.example/api/2fa/request"
    monkeypatch.setenv(BASE_URL_VARIABLE, "")
    assert url_of() == PUBLISHED
    monkeypatch.setenv(BASE_URL_VARIABLE, "http://staging.example")
    assert "staging" not in str(refusal("base_url", url_of))


LOCAL = (
    "localhost LOCALHOST:8080 127.0.0.1:8080 127.0.0.2 127.255.255.254 [::1] [::1]:8080/x [0:0:0:0:0:0:0:1]"
)
REMOTE = [
    *("api.gateway360.com", "192.168.1.10", "10.0.0.1:8080", "0.0.0.0", "128.0.0.1", "[::2]"),
    *("[2001:db8::1]", "localhost.example.com", "127.0.0.1.example.com", "example.com/localhost"),
    "2130706433",
]


@each("host", LOCAL.split())
def test_plain_http_to_this_machine_is_allowed(host):
    assert url_of(f"http://{host}").startswith("http://")


@each("host", REMOTE)
def test_plain_http_to_another_machine_needs_a_word(host):
    assert "allow_insecure" in refusal("base_url", url_of, f"http://{host}").expected
    assert url_of(f"http://{host}", allow_insecure=True) == f"http://{host}/api/2fa/request"


@each(
    ("base_url", "prefix"),
    [
        ("https://api.gateway360.com/api", "/api"),
        ("https://api.gateway360.com/api/", "/api"),
        ("https://api.gateway360.com/api/3.0", "/api/3.0"),
        ("https://proxy.example/gateway/api", "/api"),
    ],
)
def test_base_url_that_ends_in_the_prefix_names_the_cure(base_url, prefix):
    error = refusal("base_url", url_of, base_url, prefix)
    assert prefix in error.problem
    assert "path_prefix=''" in error.expected
    assert url_of(base_url, "") == f"{base_url.rstrip('/')}/2fa/request"


HOST = "api.gateway360.com"


@each("allow_insecure", [False, True])
@each(
    "base_url",
    [
        *(HOST, f"//{HOST}", "/api", f"ftp://{HOST}", f"ws://{HOST}", "file:///etc/passwd"),
        *("https:", "https://", "https:///api", "", "https://[::1", "https://xn--a.com"),
        *(f"https://{user}@{HOST}" for user in ("user", "user:p4ssw0rd", ":p4ssw0rd")),
        *(f"https://{HOST}{rest}" for rest in ("?p4ssw0rd=1", "/?p4ssw0rd", "#p4ssw0rd", "?", "#")),
        *(f"https://{HOST}:{port}" for port in ("port", "99999", "0")),
        *("http://127.0.0.1@evil.example", "https://api gateway360.com", f"https://{HOST}\n"),
        *("https://api.\x00gateway360.com", "https://" + "a" * 70_000, "https://\u00e9" + "a" * 80),
        *(5, True, f"https://{HOST}".encode(), [f"https://{HOST}"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_base_url_of_another_form_is_not_echoed(base_url, allow_insecure):
    error = refusal("base_url", url_of, base_url, allow_insecure=allow_insecure)
    assert "gateway360.com" not in str(error)
    assert "p4ssw0rd" not in f"{error} {error!r}"


NO_PATHS = ["api", " /api", "/api?x=1", "/api#x", "/a b", "/api\n", "/api\x00", "/\ud800", "/" + "a" * 70_000]


@each("path_prefix", [*NO_PATHS, "/\u00e9", None, 3, True, b"/api"], ids=lambda value: ascii(value)[:20])
def test_path_prefix_that_is_no_path_is_refused(path_prefix):
    refusal("path_prefix", url_of, "https://api.example", path_prefix)


# Numbers and instances

NO_SECONDS = [0, 0.0, -1, -0.5, 10**400, math.inf, -math.inf, math.nan, None, True, "30", b"1", [1]]


@each(
    ("setting", "check", "values"),
    [
        ("deadline", checked_deadline, NO_SECONDS),
        ("cooldown", checked_cooldown, NO_SECONDS),
        ("timeout", checked_timeout, [*NO_SECONDS, (5, 5), {"read": 5}]),
        ("concurrency", checked_concurrency, [0, -1, 1.0, 1.5, math.inf, None, True, False, "1"]),
        ("rate", checked_rate, [0, -1, 1e-6, 1e7, math.nan, "30/s", True, None]),
    ],
)
def test_number_out_of_its_range_is_refused_by_name(setting, check, values):
    for value in values:
        refusal(setting, check, value)


@each(
    ("check", "values"),
    [
        (checked_deadline, [30, 30.0, 0.001, 1e9]),
        (checked_concurrency, [1, 2, 100, 10_000]),
        (checked_rate, [1e-5, 30, 1e6]),
    ],
)
def test_number_in_its_range_is_kept(check, values):
    assert [check(value) for value in values] == values
    assert type(checked_deadline(30)) is float


def test_timeout_is_a_ready_one_or_bounds_all_but_the_pool():
    timeout = httpx.Timeout(1.0, read=None)
    assert checked_timeout(timeout) is timeout
    assert checked_timeout(0.5) == httpx.Timeout(0.5, pool=None)
    assert default_timeout().as_dict() == {"connect": 5.0, "write": 5.0, "read": 15.0, "pool": None}


def test_timeout_of_httpx2_is_taken_too():
    assert checked_timeout(httpx2.Timeout(1.0, read=None)) == httpx.Timeout(1.0, read=None)


def test_log_level_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv(LOG_VARIABLE, raising=False)
    assert read_log_level() is None
    monkeypatch.setenv(LOG_VARIABLE, "INFO")
    assert read_log_level() == logging.INFO
    monkeypatch.setenv(LOG_VARIABLE, "loud")
    assert refusal("GATEWAY360_LOG", read_log_level).expected == "debug, info or warning, or nothing"


def test_instance_of_the_written_type_passes():
    checked_instance("retry", RetryPolicy(), RetryPolicy, "a RetryPolicy")
    checked_instance("flag", True, bool, "True or False")


@each("value", [None, 3, RetryPolicy, "RetryPolicy()"])
def test_instance_of_another_type_is_refused_by_name(value):
    error = refusal("retry", checked_instance, "retry", value, RetryPolicy, "a RetryPolicy")
    assert error.expected == "a RetryPolicy"
