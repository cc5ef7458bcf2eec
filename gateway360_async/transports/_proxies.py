"""Which proxy the environment names for a URL, as httpx reads it.

httpx reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` in its client, not in its transports,
and our default path uses the transports alone (see `_slots`). The rules are httpx's, and a test holds
this module against httpx's own choice, with one exception: plain http to this machine never goes to a
proxy on another one, as the API key is readable on that way.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.request import getproxies

import httpx

from .._settings import is_loopback

__all__ = ["environment_proxy"]


def environment_proxy(url: httpx.URL) -> str | None:
    """Give the proxy's URL for a request to `url`, or `None` to connect directly."""
    proxies = getproxies()
    bypassed = [entry.strip() for entry in proxies.get("no", "").split(",")]
    if any(_bypasses(entry, url) for entry in bypassed if entry):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if url.scheme == "http" and is_loopback(url.host) and not is_loopback(httpx.URL(proxy).host):
        return None
    return proxy


def _bypasses(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of `NO_PROXY` covers a URL.

    `example.com` covers itself and its subdomains, `.example.com` the subdomains only; an address, and
    `localhost`, cover themselves; an entry with a scheme covers that scheme (`all://` any), and one with
    a port that port.
    """
    if entry == "*":
        return True
    if "://" not in entry:
        entry = f"all://{_as_pattern(entry)}"
    pattern = httpx.URL(entry)
    if pattern.scheme not in ("all", url.scheme):
        return False
    if pattern.port is not None and pattern.port != url.port:
        return False
    return _covers(pattern.host, url.host)


def _as_pattern(entry: str) -> str:
    try:
        address = ipaddress.ip_address(entry.partition("/")[0])
    except ValueError:
        return entry if entry.lower() == "localhost" else f"*{entry}"
    return f"[{entry}]" if address.version == 6 else entry


def _covers(pattern: str, host: str) -> bool:
    if pattern in ("", "*"):
        return True
    if pattern.startswith("*."):
        return re.fullmatch(f".+{re.escape(pattern[1:])}", host) is not None
    if pattern.startswith("*"):
        return host == pattern[1:] or host.endswith(f".{pattern[1:]}")
    return host == pattern
