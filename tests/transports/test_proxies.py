"""Our reading of the environment's proxies, against httpx's own where that can read them."""

from __future__ import annotations

import re
import ssl

import httpx
import pytest
from support.cases import each
from support.leaks import reported

from gateway360_async import Gateway360Client, InvalidConfiguration
from gateway360_async.transports import HttpxTransport
from gateway360_async.transports._environment import environment_proxy

TLS = ssl.create_default_context()  # one for all: making it is what takes httpx so long

URLS = [
    "https://api.gateway360.com",
    "https://gateway360.com",
    "https://notgateway360.com",
    "https://api.gateway360.com:8443",
    "http://localhost:8000",
    "http://127.0.0.1:8000",
    "http://10.0.0.1",
    "http://[::1]:8000",
]

ENVIRONMENTS = [
    {},
    {"HTTPS_PROXY": "http://proxy.test:3128"},
    {"HTTPS_PROXY": "proxy.test:3128"},
    {
        "HTTP_PROXY": "http://plain.test:1",
        "HTTPS_PROXY": "http://tls.test:2",
        "ALL_PROXY": "http://all.test:3",
    },
    {"ALL_PROXY": "http://all.test:3"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "*"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "example.com, *"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "gateway360.com"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": ".gateway360.com"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "localhost,127.0.0.1,::1"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "LOCALHOST,,example.com"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "10.0.0.1"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "api.gateway360.com:8443"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "https://api.gateway360.com"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "http://"},
    {"ALL_PROXY": "http://all.test:3", "NO_PROXY": "all://*.gateway360.com"},
]


async def chosen_by_httpx(url: httpx.URL) -> str | None:
    """The oracle: the pool that an httpx client takes for a URL is a proxy's, or it is not."""
    async with httpx.AsyncClient(verify=TLS) as client:
        pool = client._transport_for_url(url)._pool
    proxy = getattr(pool, "_proxy_url", None)
    return None if proxy is None else f"{proxy.scheme.decode()}://{proxy.host.decode()}:{proxy.port}"


@pytest.mark.parametrize("url", URLS)
@each("environment", ENVIRONMENTS)
async def test_proxy_is_the_one_that_httpx_takes(environment, url):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        theirs = await chosen_by_httpx(httpx.URL(url))
        ours = environment_proxy(url)
    if url.startswith(("http://localhost", "http://127.", "http://[::1]")):
        theirs = None  # these proxies are on other machines, and the key would go there in the clear
    assert (None if ours is None else f"{ours.url.scheme}://{ours.url.host}:{ours.url.port}") == theirs


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:3128", "http://localhost:3128", "[::1]:3128"])
def test_plain_http_to_this_machine_may_go_through_a_proxy_on_it(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    found = environment_proxy("http://127.0.0.1:8000")
    assert found.url == httpx.URL(proxy if "//" in proxy else f"http://{proxy}")


COVERED = [
    ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f0::1]"),
    ("[::1]", "https://[::1]"),
    ("[::1]:8443", "https://[::1]:8443"),
    ("::1", "https://[::1]"),
    ("10.0.0.0/8", "https://10.1.2.3"),
    ("10.1.2.3:443", "https://10.1.2.3"),
    ("münchen.de", "https://www.xn--mnchen-3ya.de"),
    ("*.gateway360.com", "https://api.gateway360.com"),
    ("GATEWAY360.com.", "https://api.gateway360.com"),
    ("https://", "https://api.gateway360.com"),
    ("all://", "https://api.gateway360.com"),
]
NOT_COVERED = [
    ("fd07:b51a:cc66:f0::/64", "https://[fd07:b51a:cc66:f1::1]"),
    ("[::1]:8443", "https://[::1]"),
    ("10.0.0.0/8", "https://11.1.2.3"),
    ("10.0.0.0/8", "https://api.gateway360.com"),
    ("10.1.2.3:80", "https://10.1.2.3"),
    ("*.gateway360.com", "https://gateway360.com"),
    (".gateway360.com", "https://gateway360.com"),
    ("ateway360.com", "https://gateway360.com"),
    ("http://", "https://api.gateway360.com"),
]
UNREADABLE = ["foo:bar", "[::1", "[::1]x", "10.0.0.0/33", "a b", "1:2:3", "ftp://gateway360.com", "x/y", "."]


@pytest.mark.parametrize(
    ("entry", "url", "covered"), [*((*c, True) for c in COVERED), *((*c, False) for c in NOT_COVERED)]
)
def test_no_proxy_covers_networks_names_and_ports(entry, url, covered, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", f"elsewhere.test, {entry}")
    assert (environment_proxy(url) is None) is covered


def test_no_proxy_unreadable_entries_warn_and_bypass_nothing(monkeypatch, caplog):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", ",".join(UNREADABLE))
    assert environment_proxy("https://api.gateway360.com") is not None
    (record,) = caplog.records
    assert "NO_PROXY" in record.message
    assert all(entry in record.message for entry in UNREADABLE)


def test_no_proxy_without_a_proxy_is_not_read(monkeypatch, caplog):
    monkeypatch.setenv("NO_PROXY", ",".join(UNREADABLE))
    assert environment_proxy("https://api.gateway360.com") is None
    assert not caplog.records


PASSWORD = re.compile("p4[#/]?ss")
WRONG = [
    "http://user:p4#ss@proxy.test:3128",
    "http://user:p4/ss@proxy.test",
    "http://user:p4ss@",
    "ftp://user:p4ss@x",
]


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_proxy_variable_unreadable_names_itself_not_its_password(variable, url, monkeypatch):
    monkeypatch.setenv(variable, url)
    with pytest.raises(InvalidConfiguration) as caught:
        Gateway360Client("k3y")
    assert caught.value.setting == variable
    assert not [text for text in reported(caught.value) if PASSWORD.search(text)]
    assert "percent-encode" in str(caught.value)


@pytest.mark.parametrize("url", WRONG)
def test_proxy_setting_unreadable_does_not_show_its_password(url):
    with pytest.raises(InvalidConfiguration, match="proxy") as caught:
        HttpxTransport(proxy=url)
    assert not [text for text in reported(caught.value) if PASSWORD.search(text)]


def test_proxy_socks_without_its_extra_says_so(monkeypatch):
    with pytest.raises(InvalidConfiguration, match=r"httpx\[socks\]"):
        HttpxTransport(proxy="socks5://proxy.test:1080")
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test:1080")
    with pytest.raises(InvalidConfiguration, match="ALL_PROXY"):
        Gateway360Client("k3y")


def test_proxy_socks_with_its_extra_is_taken(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    HttpxTransport(proxy="socks5://proxy.test:1080")
