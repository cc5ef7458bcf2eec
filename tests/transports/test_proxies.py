"""Our reading of the environment's proxies against httpx's own."""

from __future__ import annotations

import ssl

import httpx
import pytest

from gateway360_async.transports._proxies import environment_proxy

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
@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda env: " ".join(f"{k}={v}" for k, v in env.items()) or "none"
)
async def test_the_proxy_is_the_one_that_httpx_takes(environment, url, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = await chosen_by_httpx(httpx.URL(url))
    if url.startswith(("http://localhost", "http://127.", "http://[::1]")):
        theirs = None  # these proxies are on other machines, and the key would go there in the clear
    assert environment_proxy(httpx.URL(url)) == theirs


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:3128", "http://localhost:3128", "[::1]:3128"])
def test_plain_http_to_this_machine_may_go_through_a_proxy_on_it(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert environment_proxy(httpx.URL("http://127.0.0.1:8000")) == (
        proxy if "//" in proxy else f"http://{proxy}"
    )
