"""Which proxy the environment names for a URL.

`HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` are read as httpx reads them, and `NO_PROXY` as Go and curl do. Plain
http to this machine never goes to a proxy on another one, as the API key is readable on that way.
"""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ipaddress
import logging
from importlib.util import find_spec
from urllib.request import getproxies

import httpx

from .._config import is_loopback
from .._exceptions import InvalidConfiguration

__all__ = ["environment_proxy", "read_proxy"]

_logger = logging.getLogger("gateway360_async")
_EXPECTED = (
    "an http://, https:// or socks5:// URL; in its password, percent-encode what is neither letter nor digit"
)


def read_proxy(
    proxy: httpx.Proxy | httpx.URL | str | None, setting: str = "proxy"
) -> httpx.Proxy | InvalidConfiguration | None:
    """Read a proxy. An error is returned, for the caller to raise once it has let go of the URL.

    The URL may hold a password, which a traceback with local variables would show.
    """
    if proxy is None:
        return None
    try:
        read = proxy if isinstance(proxy, httpx.Proxy) else httpx.Proxy(proxy)
        if not read.url.host:
            raise ValueError  # noqa: TRY301
    except (httpx.InvalidURL, ValueError, TypeError):
        return InvalidConfiguration(setting, "is not a proxy's URL", _EXPECTED)
    if read.url.scheme.startswith("socks5") and find_spec("socksio") is None:
        problem = "is a SOCKS proxy, which httpx speaks with its extra alone"
        return InvalidConfiguration(setting, problem, "pip install 'httpx[socks]', or an http:// proxy")
    return read


def environment_proxy(url: str) -> httpx.Proxy | None:
    """Give the proxy for requests to `url`, or `None` to connect directly.

    Raises:
        InvalidConfiguration: The environment names something else; `.setting` is the variable.
    """
    found = _read_environment(httpx.URL(url))
    if isinstance(found, InvalidConfiguration):
        raise found
    return found


def _read_environment(url: httpx.URL) -> httpx.Proxy | InvalidConfiguration | None:
    proxies = getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    proxy = proxies.get(scheme)
    if not proxy or _is_bypassed(url, proxies.get("no", "")):
        return None
    read = read_proxy(proxy if "://" in proxy else f"http://{proxy}", f"{scheme.upper()}_PROXY")
    if isinstance(read, httpx.Proxy) and url.scheme == "http" and is_loopback(url.host):
        return read if is_loopback(read.url.host) else None
    return read


def _is_bypassed(url: httpx.URL, no_proxy: str) -> bool:
    bypassed = False
    unreadable: list[str] = []
    for entry in filter(None, map(str.strip, no_proxy.split(","))):
        covers = _covers(entry, url)
        if covers is None:
            unreadable.append(entry)
        bypassed |= covers is True
    if unreadable:
        _logger.warning("NO_PROXY holds what cannot be read, and bypasses nothing by it: %r", unreadable)
    return bypassed


def _covers(entry: str, url: httpx.URL) -> bool | None:
    """Whether an entry of `NO_PROXY` covers a URL; `None`: it cannot be read.

    `*` covers all. `example.com` covers itself and its subdomains, `.example.com` and `*.example.com` the subdomains
    alone; an address covers itself, and a network (CIDR) its addresses, without or with brackets; a port behind
    either, and a scheme before it, cover that port or scheme alone.
    """
    scheme, separator, rest = entry.rpartition("://")
    if scheme not in ("", "all", "http", "https"):
        return None
    try:
        pattern, port = _split(rest)
        covers_host = pattern in ("*", "") or _covers_host(pattern, url)
    except (ValueError, httpx.InvalidURL):
        return None
    covers_scheme = not separator or scheme in ("all", url.scheme)
    return (
        covers_host and covers_scheme and port in (None, url.port or (443 if url.scheme == "https" else 80))
    )


def _split(entry: str) -> tuple[str, int | None]:
    """Split an entry into its host, network or domain, and its port."""
    if entry.startswith("["):
        host, bracket, port = entry[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError
        return host, int(port[1:]) if port else None
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, int(port)
    return entry, None


def _covers_host(pattern: str, url: httpx.URL) -> bool:
    host = url.raw_host.decode("ascii").lower()
    network = _network(pattern)
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    subdomains_only = pattern.startswith((".", "*."))
    domain = pattern.lstrip("*").strip(".")
    name = (
        httpx.URL(f"http://{domain}").raw_host.decode("ascii").lower()
    )  # an international name as it is asked for
    if not name or set(name) & set("*/%@ "):
        raise ValueError
    return host.endswith(f".{name}") or (host == name and not subdomains_only)


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        if "/" in pattern or ":" in pattern:
            raise
        return None
