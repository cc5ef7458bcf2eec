"""The client's settings: what is accepted, what is refused by name, and that no error shows the key."""

import math

import httpx
import pytest
from cases import each

from gateway360_async import InvalidConfiguration, RetryPolicy
from gateway360_async._secret import Secret
from gateway360_async._settings import (
    API_KEY_VARIABLE,
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    checked_concurrency,
    checked_deadline,
    checked_instance,
    checked_rate,
    checked_sender,
    checked_timeout,
    default_timeout,
    endpoint,
    read_api_key,
)

KEY = "sk-live-9f8e7d6c5b4a"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    monkeypatch.delenv(BASE_URL_VARIABLE, raising=False)


def url_of(base_url=None, path_prefix="/api", *, allow_insecure=False):
    return endpoint(base_url, path_prefix, "/2fa/request", allow_insecure=allow_insecure)


def refusal(call, *args, **options):
    """Call with a setting that must be refused, and give the error."""
    with pytest.raises(InvalidConfiguration) as caught:
        call(*args, **options)
    return caught.value


def refused_key(key):
    """The error is returned, so that no frame that holds the key is in its traceback."""
    error = read_api_key(key)
    assert isinstance(error, InvalidConfiguration)
    return error


def test_the_variables_have_the_documented_names():
    assert API_KEY_VARIABLE == "GATEWAY360_API_KEY"
    assert BASE_URL_VARIABLE == "GATEWAY360_BASE_URL"


# api_key


@each("key", ["k", KEY, "with space", "\u00e9\u00f1", "*" * 4096], ids=ascii)
def test_a_key_is_wrapped_as_it_is(key):
    secret = read_api_key(key)
    assert isinstance(secret, Secret)
    assert secret.reveal() == key


def test_the_environments_key_stands_in_for_none(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    assert read_api_key(None).reveal() == KEY


def test_the_key_that_is_given_comes_before_the_environments(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, "other")
    assert read_api_key(KEY).reveal() == KEY


def test_an_empty_key_is_not_filled_from_the_environment(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    error = refused_key("")
    assert error.setting == "api_key"
    assert error.problem == "is empty"


@pytest.mark.parametrize("value", [None, ""])
def test_no_key_at_all_is_refused_and_the_error_names_both_ways_to_give_it(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv(API_KEY_VARIABLE, value)
    error = refused_key(None)
    assert error.setting == "api_key"
    assert API_KEY_VARIABLE in str(error)


@each(
    "key",
    [
        f"{KEY}\n",
        f"{KEY} ",
        f" {KEY}",
        f"\t{KEY}",
        f"{KEY}\r\n",
        f"{KEY}\x00",
        f"{KEY[:4]}\n{KEY[4:]}",
        f"{KEY}\u00a0",
        f"{KEY}\ufeff",
        f"{KEY}\ud800",
        " ",
        "\n",
    ],
    ids=ascii,
)
def test_a_key_with_stray_characters_is_refused_and_not_echoed(key):
    error = refused_key(key)
    assert error.setting == "api_key"
    assert KEY[:4] not in str(error)
    assert KEY[:4] not in repr(error)


def test_the_environments_key_is_checked_too(monkeypatch):
    monkeypatch.setenv(API_KEY_VARIABLE, f"{KEY}\n")
    error = refused_key(None)
    assert error.setting == "api_key"
    assert KEY not in str(error)


@each("value", [KEY.encode(), 12345, True, [KEY], {"key": KEY}, 0, False], ids=repr)
def test_a_key_that_is_no_string_is_refused_and_not_echoed(value):
    error = refused_key(value)
    assert error.setting == "api_key"
    assert KEY not in str(error)
    assert "12345" not in str(error)


# sender


@each("sender", [None, "GOOD PIZZA", "123456789012345"])
def test_a_default_sender_is_optional(sender):
    assert checked_sender(sender) == sender


@each("sender", ["", " ", "ABCDEFGHIJKL", "1234567890123456", "A\nB", 5, True, b"PIZZA"])
def test_a_default_sender_follows_the_rule_of_requests(sender):
    assert refusal(checked_sender, sender).setting == "sender"


# base_url and path_prefix


@each(
    ("path_prefix", "path"),
    [
        ("/api", "/api/2fa/request"),
        ("/api/", "/api/2fa/request"),
        ("/api/3.0", "/api/3.0/2fa/request"),
        ("/api/3.0//", "/api/3.0/2fa/request"),
        ("", "/2fa/request"),
        ("/", "/2fa/request"),
    ],
)
@each(
    ("base_url", "start"),
    [
        (None, DEFAULT_BASE_URL),
        ("https://api.gateway360.com", "https://api.gateway360.com"),
        ("https://api.gateway360.com/", "https://api.gateway360.com"),
        ("https://proxy.example/gateway", "https://proxy.example/gateway"),
        ("https://proxy.example:8443/a/b/", "https://proxy.example:8443/a/b"),
        ("HTTPS://API.Example:443", "https://api.example"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        (httpx.URL("https://api.example/x"), "https://api.example/x"),
    ],
    ids=str,
)
def test_the_url_is_the_bases_then_the_prefix_then_the_path(base_url, start, path_prefix, path):
    assert url_of(base_url, path_prefix) == start + path


@each("path", ["/a%2Fb", "/a%3Fb", "/a%23b", "/a%25b", "/a%0Ab"])
def test_the_bases_path_stays_as_it_is_written(path):
    assert url_of(f"https://api.example{path}") == f"https://api.example{path}/api/2fa/request"


def test_the_published_url_is_the_default():
    assert url_of() == "https://api.gateway360.com/api/2fa/request"


def test_the_environments_base_url_stands_in_for_none(monkeypatch):
    monkeypatch.setenv(BASE_URL_VARIABLE, "https://staging.example")
    assert url_of() == "https://staging.example/api/2fa/request"


def test_the_base_url_that_is_given_comes_before_the_environments(monkeypatch):
    monkeypatch.setenv(BASE_URL_VARIABLE, "https://staging.example")
    assert url_of("https://given.example") == "https://given.example/api/2fa/request"


def test_an_empty_variable_is_no_base_url(monkeypatch):
    monkeypatch.setenv(BASE_URL_VARIABLE, "")
    assert url_of() == "https://api.gateway360.com/api/2fa/request"


def test_the_environments_base_url_is_checked_too(monkeypatch):
    monkeypatch.setenv(BASE_URL_VARIABLE, "http://staging.example")
    error = refusal(url_of)
    assert error.setting == "base_url"
    assert "staging" not in str(error)


@each(
    "base_url",
    [
        "http://localhost",
        "http://LOCALHOST:8080",
        "http://127.0.0.1:8080",
        "http://127.0.0.2",
        "http://127.255.255.254",
        "http://[::1]",
        "http://[::1]:8080/x",
        "http://[0:0:0:0:0:0:0:1]",
    ],
)
def test_plain_http_is_allowed_to_this_machine(base_url):
    assert url_of(base_url).startswith("http://")


REMOTE = [
    "http://api.gateway360.com",
    "http://192.168.1.10",
    "http://10.0.0.1:8080",
    "http://0.0.0.0",
    "http://128.0.0.1",
    "http://[::2]",
    "http://[2001:db8::1]",
    "http://localhost.example.com",
    "http://127.0.0.1.example.com",
    "http://example.com/localhost",
    "http://2130706433",
]


@each(
    ("base_url", "prefix"),
    [
        ("https://api.gateway360.com/api", "/api"),
        ("https://api.gateway360.com/api/", "/api"),
        ("https://api.gateway360.com/api/3.0", "/api/3.0"),
        ("https://proxy.example/gateway/api", "/api"),
    ],
)
def test_base_url_that_ends_in_the_prefix_is_refused_with_the_cure(base_url, prefix):
    error = refusal(url_of, base_url, prefix)
    assert error.setting == "base_url"
    assert prefix in error.problem
    assert "path_prefix=''" in error.expected
    assert url_of(base_url, "") == f"{base_url.rstrip('/')}/2fa/request"


@each("base_url", REMOTE)
def test_plain_http_to_another_machine_is_refused(base_url):
    error = refusal(url_of, base_url)
    assert error.setting == "base_url"
    assert "allow_insecure" in error.expected


@each("base_url", REMOTE)
def test_plain_http_to_another_machine_is_allowed_on_request(base_url):
    assert url_of(base_url, allow_insecure=True) == f"{base_url}/api/2fa/request"


@each("allow_insecure", [False, True])
@each(
    "base_url",
    [
        "api.gateway360.com",
        "//api.gateway360.com",
        "/api",
        "ftp://api.gateway360.com",
        "ws://api.gateway360.com",
        "file:///etc/passwd",
        "https:",
        "https://",
        "https:///api",
        "https://user@api.gateway360.com",
        "https://user:p4ssw0rd@api.gateway360.com",
        "https://:p4ssw0rd@api.gateway360.com",
        "http://127.0.0.1@evil.example",
        "https://api.gateway360.com?p4ssw0rd=1",
        "https://api.gateway360.com/?p4ssw0rd",
        "https://api.gateway360.com#p4ssw0rd",
        "https://api.gateway360.com?",
        "https://api.gateway360.com#",
        "https://api.gateway360.com:port",
        "https://api.gateway360.com:99999",
        "https://api.gateway360.com:0",
        "https://api gateway360.com",
        "https://xn--a.com",
        "",
        "https://[::1",
        "https://api.gateway360.com\n",
        "https://api.\x00gateway360.com",
        "https://" + "a" * 70_000,
        "https://\u00e9" + "a" * 80,
        5,
        True,
        b"https://api.gateway360.com",
        ["https://api.gateway360.com"],
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_plain_base_url_is_refused_and_not_echoed(base_url, allow_insecure):
    error = refusal(url_of, base_url, allow_insecure=allow_insecure)
    assert error.setting == "base_url"
    assert "gateway360.com" not in str(error)
    assert "p4ssw0rd" not in str(error)
    assert "p4ssw0rd" not in repr(error)


@each(
    "path_prefix",
    [
        "api",
        " /api",
        "/api?x=1",
        "/api#x",
        "/a b",
        "/api\n",
        "/api\x00",
        "/\ud800",
        "/" + "a" * 70_000,
        "/\u00e9",
        None,
        3,
        True,
        b"/api",
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_path_is_refused_as_a_prefix(path_prefix):
    assert refusal(url_of, "https://api.example", path_prefix).setting == "path_prefix"


# deadline, concurrency, timeout, and the rest


@each("value", [30, 30.0, 0.001, 1e9])
def test_a_deadline_is_a_number_of_seconds(value):
    deadline = checked_deadline(value)
    assert deadline == value
    assert type(deadline) is float


@each("value", [0, 0.0, -1, -0.5, 10**400, math.inf, -math.inf, math.nan, None, True, "30", b"1", [1]])
def test_there_is_always_a_deadline(value):
    assert refusal(checked_deadline, value).setting == "deadline"


@each("value", [1, 2, 100, 10_000])
def test_a_concurrency_is_a_whole_number(value):
    assert checked_concurrency(value) == value


@each("value", [0, -1, 1.0, 1.5, math.inf, None, True, False, "1"])
def test_a_concurrency_below_1_or_of_another_type_is_refused(value):
    assert refusal(checked_concurrency, value).setting == "concurrency"


def test_the_default_timeout_is_the_one_of_the_design():
    assert default_timeout().as_dict() == {"connect": 5.0, "write": 5.0, "read": 15.0, "pool": None}


def test_a_ready_timeout_is_given_back_as_it_is():
    timeout = httpx.Timeout(1.0, read=None)
    assert checked_timeout(timeout) is timeout


@each("value", [1, 0.5, 30.0])
def test_a_number_bounds_every_step_but_the_pools(value):
    assert checked_timeout(value).as_dict() == {
        "connect": value,
        "write": value,
        "read": value,
        "pool": None,
    }


@each("value", [0, -1, math.inf, -math.inf, math.nan, None, True, "5", (5, 5), {"read": 5}])
def test_a_timeout_that_bounds_nothing_is_refused(value):
    assert refusal(checked_timeout, value).setting == "timeout"


def test_an_instance_of_the_written_type_passes():
    assert checked_instance("retry", RetryPolicy(), RetryPolicy, "a RetryPolicy") is None


@each("value", [None, 3, RetryPolicy, "RetryPolicy()"])
def test_an_instance_of_another_type_is_refused_by_the_settings_name(value):
    error = refusal(checked_instance, "retry", value, RetryPolicy, "a RetryPolicy")
    assert error.setting == "retry"
    assert error.expected == "a RetryPolicy"


@each("value", [1e-5, 30, 1e6])
def test_a_rate_is_requests_per_second(value):
    assert checked_rate(value) == value


@each("value", [0, -1, 1e-6, 1e7, float("nan"), "30/s", True, None])
def test_a_rate_that_is_none_or_of_another_type_is_refused(value):
    with pytest.raises(InvalidConfiguration) as caught:
        checked_rate(value)
    assert caught.value.setting == "rate"
