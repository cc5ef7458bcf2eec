"""Proxies, mocks and instruments: the surroundings that change the way of a request.

- `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` are read as httpx reads them, and `NO_PROXY` as Go and curl do. Plain
  http to this machine never goes to a proxy on another one, as the API key is readable on that way.
- A test that mocks httpx believes that nothing leaves the machine, and an application that instruments it wants to
  see each request. Both replace functions of httpx or httpcore (respx, pytest-httpx, vcrpy, OpenTelemetry, ddtrace,
  Sentry), so it is enough to ask whether those are the originals: plain functions whose globals are those of the
  library's module. Neither a wrapper nor a mock has them, whenever it came.
"""

# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ipaddress
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter, is_
from types import FunctionType, ModuleType
from typing import Any, Final

from .._config import httpx, is_loopback
from .._exceptions import InvalidConfiguration

__all__ = ["ENGINES", "environment_proxy", "intercepted_by", "read_proxy"]

_logger = logging.getLogger("gateway360_async")
_EXPECTED: Final = (
    "an http://, https:// or socks5:// URL; in its password, percent-encode what is neither letter nor digit"
)

# --- Mocks and instruments

ENGINES: Final = {"httpx": "httpcore", "httpx2": "httpcore2"}
# The ways that a request takes through a library and its engine: one of these has to be replaced to mock or to instrument it.
_WAYS: Final = {
    "AsyncClient": ("__init__", "send", "_send_single_request", "_transport_for_url"),
    "AsyncHTTPTransport": ("handle_async_request",),
    "AsyncConnectionPool": ("handle_async_request",),
    "AsyncHTTPConnection": ("handle_async_request",),
    "AsyncHTTP11Connection": ("handle_async_request",),
    "AnyIOBackend": ("connect_tcp",),
}
_originals: Final[dict[ModuleType, tuple[Callable[[Any], tuple[object, ...]], tuple[object, ...]]]] = {}
"""By library, and only once all of it was original: a quick look, and all that it has to find."""


def intercepted_by(*libraries: str) -> str | None:
    """Name the first function or class of these libraries that was replaced; `None`: there is none."""
    for name in libraries:
        module = sys.modules.get(name)
        if module is not None:
            try:
                look, originals = _originals[module]
                # Asked before each exchange. By identity, for a wrapper calls itself equal to what it wraps.
                if all(map(is_, look(module), originals)):
                    continue
            except (KeyError, AttributeError):  # not seen yet; another version of the library
                pass
            replaced = _search(module)
            if replaced is not None:
                return replaced
    return None


def _search(module: ModuleType) -> str | None:
    """Name the first replaced function or class of a library, or learn the originals."""
    paths: list[str] = []
    for class_name, methods in _WAYS.items():
        cls = module.__dict__.get(class_name)
        described = f"{module.__name__}.{class_name}"
        if cls is None:  # it is the other library's, or one of another version
            continue
        found = [name for name in methods if name in getattr(cls, "__dict__", {})]
        if not isinstance(cls, type) or not found:
            return described
        for name in found:
            if not _is_original(cls.__dict__[name], module):
                return f"{described}.{name}"
        paths += [class_name, *(f"{class_name}.{name}" for name in found)]
    if module not in _originals:
        look = attrgetter(*paths)
        _originals[module] = look, look(module)
    return None


def _is_original(function: Any, module: ModuleType) -> bool:
    if type(function) is not FunctionType:  # `isinstance` would believe a wrapper
        return False
    name = str(function.__globals__.get("__name__"))
    home = sys.modules.get(name)
    inside = name == module.__name__ or name.startswith(f"{module.__name__}.")
    return inside and home is not None and function.__globals__ is home.__dict__


# --- Proxies


def read_proxy(
    proxy: httpx.Proxy | httpx.URL | str | None, setting: str = "proxy"
) -> httpx.Proxy | InvalidConfiguration | None:
    """Read a proxy. An error is returned, for the caller to raise once it has let go of the URL and its password."""
    if proxy is None:
        return None
    try:
        read = proxy if isinstance(proxy, httpx.Proxy) else httpx.Proxy(proxy)
        if not read.url.host:
            raise ValueError  # noqa: TRY301
    except (httpx.InvalidURL, ValueError, TypeError):
        return InvalidConfiguration(setting, "is not a proxy's URL", _EXPECTED)
    if read.url.scheme.startswith("socks5") and not _has_socks():
        problem = "is a SOCKS proxy, which httpx speaks with its extra alone"
        return InvalidConfiguration(setting, problem, "pip install 'httpx[socks]', or an http:// proxy")
    return read


def _has_socks() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415  # it takes long to import

    return find_spec("socksio") is not None


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
    from urllib.request import getproxies  # noqa: PLC0415  # it takes long to import

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
        try:
            bypassed |= _covers(entry, url)
        except (ValueError, httpx.InvalidURL):
            unreadable.append(entry)
    if unreadable:
        _logger.warning("NO_PROXY holds what cannot be read, and bypasses nothing by it: %r", unreadable)
    return bypassed


def _covers(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of `NO_PROXY` covers a URL.

    `*` covers all. `example.com` covers itself and its subdomains, `.example.com` and `*.example.com` the subdomains
    alone; an address covers itself, and a network (CIDR) its addresses, without or with brackets; a port behind
    either, and a scheme before it, cover that port or scheme alone.

    Raises:
        ValueError: The entry cannot be read; `httpx.InvalidURL` as well.
    """
    scheme, separator, pattern = entry.rpartition("://")
    if scheme not in ("", "all", "http", "https"):
        raise ValueError
    port = None
    if pattern.startswith("["):
        pattern, bracket, rest = pattern[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError
        port = rest[1:] if rest else None
    elif pattern.count(":") == 1:
        pattern, _, port = pattern.partition(":")
    covers_port = port is None or int(port) == (url.port or (443 if url.scheme == "https" else 80))
    covers_scheme = not separator or scheme in ("all", url.scheme)
    return (pattern in ("*", "") or _covers_host(pattern, url)) and covers_port and covers_scheme


def _covers_host(pattern: str, url: httpx.URL) -> bool:
    host = url.raw_host.decode("ascii").lower()
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        if "/" in pattern or ":" in pattern:
            raise
    else:
        with suppress(ValueError):
            return ipaddress.ip_address(host) in network
        return False
    # An international name is covered as it is asked for.
    name = httpx.URL(f"http://{pattern.lstrip('*').strip('.')}").raw_host.decode("ascii").lower()
    if not name or set(name) & set("*/%@ "):
        raise ValueError
    return host.endswith(f".{name}") or (host == name and not pattern.startswith((".", "*.")))
