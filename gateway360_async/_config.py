"""The settings of a client and of its policies: read and checked before anything is sent.

Invariants:

- An error names the setting as the constructor spells it. It never shows the API key, nor a URL (which may hold a
  password).
- The environment is read here alone, and only for what was not given. An empty variable is none.
"""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ipaddress
import logging
import math
import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from ._exceptions import InvalidConfiguration, InvalidRequest, wrong_setting
from ._models import checked_sender as checked_request_sender
from ._redaction import Secret


class Lazy:
    """A module that is imported when it is first used; a name with a leading dot is one of this package."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name, __package__), name)


if TYPE_CHECKING:
    import httpx as httpx  # noqa: PLC0414  # for type checkers, a name of this module
else:
    httpx = Lazy("httpx")


API_KEY_VARIABLE: Final = "GATEWAY360_API_KEY"
BASE_URL_VARIABLE: Final = "GATEWAY360_BASE_URL"
LOG_VARIABLE: Final = "GATEWAY360_LOG"
REGION_VARIABLE: Final = "GATEWAY360_REGION"
STORE_VARIABLE: Final = "GATEWAY360_STORE"
DEFAULT_BASE_URL: Final = "https://api.gateway360.com"

ABOVE_ZERO: Final = math.nextafter(0.0, 1.0)
_SECONDS_EXPECTED: Final = "a finite number of seconds above 0"
_LOG_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){0,10}/*")


def is_finite(value: float) -> bool:
    """Whether a number, an `int` of any size included, fits a finite float."""
    return abs(value) <= sys.float_info.max


def checked_instance(setting: str, value: object, type_: type | tuple[type, ...], expected: str) -> None:
    """Check that a setting is of a type, or of one of several. A `bool` is no number."""
    if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
        raise wrong_setting(setting, value, expected)


def checked_seconds(setting: str, value: float, expected: str, *, least: float = 0.0) -> float:
    """Check a finite number of seconds, or of anything else, that is at least so large."""
    checked_instance(setting, value, (int, float), expected)
    if not is_finite(value) or value < least:
        raise InvalidConfiguration(setting, f"is {value!r}", expected)
    return float(value)


def checked_count(setting: str, value: int, expected: str, *, least: int) -> int:
    checked_instance(setting, value, int, expected)
    if value < least:
        raise InvalidConfiguration(setting, f"is {value!r}", expected)
    return value


def checked_collection(setting: str, value: Iterable[Any], expected: str) -> list[Any]:
    """Check that a setting is iterable and no text, and return its items."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise wrong_setting(setting, value, expected)
    return list(value)


def checked_deadline(deadline: float) -> float:
    return checked_seconds("deadline", deadline, _SECONDS_EXPECTED, least=ABOVE_ZERO)


def checked_cooldown(cooldown: float) -> float:
    return checked_seconds("cooldown", cooldown, f"{_SECONDS_EXPECTED}, or None for none", least=ABOVE_ZERO)


def checked_concurrency(concurrency: int) -> int:
    return checked_count("concurrency", concurrency, "a whole number, 1 or more", least=1)


def checked_rate(rate: float) -> float:
    expected = "requests per second, 0.00001 to 1000000, or None"
    checked = checked_seconds("rate", rate, expected, least=1e-5)
    if checked > 1e6:
        raise InvalidConfiguration("rate", f"is {rate!r}", expected)
    return checked


def default_timeout() -> httpx.Timeout:
    """Return bounds with a long read, for the gateway may ask an operator first."""
    return httpx.Timeout(connect=5.0, write=5.0, read=15.0, pool=None)


def checked_timeout(timeout: httpx.Timeout | float) -> httpx.Timeout:
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if is_made_by_httpx("Timeout", timeout):
        return httpx.Timeout(**cast("httpx.Timeout", timeout).as_dict())
    expected = "an httpx.Timeout, or a number of seconds above 0"
    return httpx.Timeout(checked_seconds("timeout", timeout, expected, least=ABOVE_ZERO), pool=None)


def checked_sender(sender: str | None) -> str | None:
    try:
        return None if sender is None else checked_request_sender(sender)
    except InvalidRequest as exc:
        raise InvalidConfiguration("sender", exc.problem, exc.expected) from None


def read_api_key(api_key: str | None) -> Secret | InvalidConfiguration:
    """Wrap the key that was given, or the environment's; return an error, for the caller to raise.

    Raised here, or by any function that has the key as an argument, its traceback would show the key.
    """
    value: object = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
    if value is None:
        problem = "is missing"
    elif not isinstance(value, str):
        problem = f"is of type {type(value).__name__}"
    elif not value:
        problem = "is empty"
    elif value.strip() != value or not value.isprintable():
        problem = "holds a control character, or white space at an end"
    else:
        return Secret(value)
    expected = f"the account's key, given as `api_key` or in the environment as {API_KEY_VARIABLE}"
    return InvalidConfiguration("api_key", problem, expected)


def read_log_level() -> int | None:
    """Return the level that the environment wants calls to be logged at; `None`: it wants none."""
    value = os.environ.get(LOG_VARIABLE)
    if not value:
        return None
    level = _LOG_LEVELS.get(value.lower())
    if level is None:
        raise InvalidConfiguration(LOG_VARIABLE, f"is {value!r}", "debug, info or warning, or nothing")
    return level


def endpoint(base_url: str | httpx.URL | None, path_prefix: str, path: str, *, allow_insecure: bool) -> str:
    """Return the URL to post to. Raises for one that would show the key to the network."""
    expected = "an absolute https:// URL"
    prefix_expected = "a path such as '/api' or '/api/3.0', or ''"
    checked_instance("path_prefix", path_prefix, str, prefix_expected)
    if not _PREFIX.fullmatch(path_prefix):
        raise InvalidConfiguration("path_prefix", "is not a path", prefix_expected)
    prefix = path_prefix.rstrip("/")
    if base_url is None:
        base_url = os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL
    try:
        # If the text is no URL, `host` may be the first to notice: it decodes international names.
        url = httpx.URL(base_url)
        host, port = url.host, url.port
        whole = url.copy_with(raw_path=url.raw_path.rstrip(b"/") + f"{prefix}{path}".encode("ascii"))
    except (httpx.InvalidURL, TypeError, ValueError):
        raise InvalidConfiguration("base_url", "is not a URL", expected) from None
    if url.scheme not in ("http", "https") or not host or "%" in host or port == 0 or (port or 1) > 65535:
        problem = "is not an absolute http:// or https:// URL"
    elif url.userinfo or set(str(base_url)) & set("?#"):
        problem, expected = "holds a user, a query or a fragment", f"{expected}, without them"
    elif prefix and url.path.rstrip("/").endswith(prefix):
        problem = f"ends in the path prefix {prefix!r}, which is added to it"
        expected = "the URL without it, or path_prefix=''"
    elif url.scheme == "http" and not allow_insecure and not is_loopback(host):
        problem = "is plain http:// to another machine, where the API key could be read on the way"
        expected = "https://, or allow_insecure=True"
    else:
        return str(whole)
    raise InvalidConfiguration("base_url", problem, expected)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its address or by the one name that always is (RFC 6761)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def httpx_library(value: object, class_name: str = "AsyncClient") -> ModuleType | None:
    """Return the library, httpx or httpx2, that an object is of; `None`: of neither."""
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)  # one that is not imported has made nothing
        if library is not None and isinstance(value, getattr(library, class_name)):
            return library
    return None


def is_made_by_httpx(class_name: str, value: object) -> bool:
    return httpx_library(value, class_name) is not None


RATE_EXPECTED: Final = "a number above 0 and a unit, such as 30/s, 1000/m or 5000/h"

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, None: 1}
_LEAST_APART: Final = 1e-6
_MOST_APART: Final = 86_400.0


def seconds_apart(rate: str, name: str) -> float:
    """Read a rate such as `30`, `30/s` or `1000/m`: how many seconds lie between two requests.

    Args:
        rate: The rate.
        name: Its name where it was given, for the text of an error.

    Raises:
        ValueError: It is none, or no sensible one.
    """
    match = _RATE.fullmatch(rate.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name} {rate}: give {RATE_EXPECTED}")
    apart = _SECONDS[match[2]] / float(match[1])
    if not _LEAST_APART <= apart <= _MOST_APART:
        raise ValueError(f"{name}: give a rate from one a day, 0.042/h, to 1000000/s")
    return apart
