"""The client's settings: read, checked and normalised before anything is sent.

Rules of this module:

- An error names the setting as the constructor spells it, and says what is right. It never shows the API
  key, nor a URL (which may hold a password).
- The environment is read in one place, here, and only for what was not given. An empty variable is none.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ipaddress
import logging
import math
import os
import re
import sys
from types import ModuleType
from typing import Final, cast

from ._errors import InvalidConfiguration, InvalidRequest
from ._lazy import httpx
from ._rates import is_finite
from ._secret import Secret
from ._sms import checked_sender as checked_request_sender

__all__ = [
    "API_KEY_VARIABLE",
    "BASE_URL_VARIABLE",
    "DEFAULT_BASE_URL",
    "LOG_VARIABLE",
    "REGION_VARIABLE",
    "STORE_VARIABLE",
    "checked_concurrency",
    "checked_cooldown",
    "checked_deadline",
    "checked_instance",
    "checked_rate",
    "checked_seconds",
    "checked_sender",
    "checked_timeout",
    "default_timeout",
    "endpoint",
    "httpx_library",
    "is_loopback",
    "is_made_by_httpx",
    "read_api_key",
    "read_log_level",
]

API_KEY_VARIABLE: Final = "GATEWAY360_API_KEY"
BASE_URL_VARIABLE: Final = "GATEWAY360_BASE_URL"
LOG_VARIABLE: Final = "GATEWAY360_LOG"
REGION_VARIABLE: Final = "GATEWAY360_REGION"
STORE_VARIABLE: Final = "GATEWAY360_STORE"
DEFAULT_BASE_URL: Final = "https://api.gateway360.com"

_LOG_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_ABOVE_ZERO: Final = math.nextafter(0.0, 1.0)
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){0,10}/*")


def read_api_key(api_key: str | None) -> Secret | InvalidConfiguration:
    """Wrap the key that was given, or the environment's. An error is returned, for the caller to raise.

    Raised here, or in any function that still has the key as an argument, it would carry a traceback whose
    frames hold the key as a local variable.
    """
    value: object = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
    problem = None
    if not isinstance(value, str):
        problem = "is missing" if value is None else f"is of type {type(value).__name__}"
    elif not value:
        problem = "is empty"
    elif value.strip() != value or not value.isprintable():
        problem = "holds a control character, or white space at an end"
    else:
        return Secret(value)
    expected = f"the account's key, given as `api_key` or in the environment as {API_KEY_VARIABLE}"
    return InvalidConfiguration("api_key", problem, expected)


def read_log_level() -> int | None:
    """Read the level that the environment wants calls to be logged at; `None`: it wants none."""
    value = os.environ.get(LOG_VARIABLE)
    if not value:
        return None
    level = _LOG_LEVELS.get(value.lower())
    if level is None:
        *names, last = _LOG_LEVELS
        raise InvalidConfiguration(LOG_VARIABLE, f"is {value!r}", f"{', '.join(names)} or {last}, or nothing")
    return level


def checked_sender(sender: str | None) -> str | None:
    """Read the default sender by the rule for a request's."""
    try:
        return None if sender is None else checked_request_sender(sender)
    except InvalidRequest as exc:
        raise InvalidConfiguration("sender", exc.problem, exc.expected) from None


def endpoint(base_url: str | httpx.URL | None, path_prefix: str, path: str, *, allow_insecure: bool) -> str:
    """Make the URL to post to, and refuse one that would show the key to the network."""
    if base_url is None:
        base_url = os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL
    expected = "an absolute https:// URL"
    prefix = _checked_prefix(path_prefix)
    try:
        # Where the text is no URL, `host` may be the first to notice: it decodes international names.
        url = httpx.URL(base_url)
        host, port = url.host, url.port
        whole = url.copy_with(raw_path=url.raw_path.rstrip(b"/") + f"{prefix}{path}".encode("ascii"))
    except (httpx.InvalidURL, TypeError, ValueError):
        raise InvalidConfiguration("base_url", "is not a URL", expected) from None
    if url.scheme not in ("http", "https") or not host or "%" in host or port == 0 or (port or 1) > 65535:
        raise InvalidConfiguration("base_url", "is not an absolute http:// or https:// URL", expected)
    if url.userinfo or set(str(base_url)) & set("?#"):
        raise InvalidConfiguration(
            "base_url", "holds a user, a query or a fragment", f"{expected}, without them"
        )
    if prefix and url.path.rstrip("/").endswith(prefix):
        problem = f"ends in the path prefix {prefix!r}, which is added to it"
        raise InvalidConfiguration("base_url", problem, "the URL without it, or path_prefix=''")
    if url.scheme == "http" and not allow_insecure and not is_loopback(host):
        problem = "is plain http:// to another machine, where the API key could be read on the way"
        raise InvalidConfiguration("base_url", problem, "https://, or allow_insecure=True")
    return str(whole)


def _checked_prefix(path_prefix: str) -> str:
    if isinstance(path_prefix, str) and _PREFIX.fullmatch(path_prefix):
        return path_prefix.rstrip("/")
    problem = "is not a path" if isinstance(path_prefix, str) else f"is of type {type(path_prefix).__name__}"
    raise InvalidConfiguration("path_prefix", problem, "a path such as '/api' or '/api/3.0', or ''")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its address or by the one name that always is (RFC 6761)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_deadline(deadline: float) -> float:
    """Check a deadline: there is always one."""
    return _seconds_above_zero("deadline", deadline, "a finite number of seconds above 0")


def checked_cooldown(cooldown: float) -> float:
    """Check a cooldown."""
    return _seconds_above_zero("cooldown", cooldown, "a finite number of seconds above 0, or None for none")


def _seconds_above_zero(setting: str, value: float, expected: str) -> float:
    return checked_seconds(setting, value, expected, least=_ABOVE_ZERO)


def checked_seconds(setting: str, value: float, expected: str, *, least: float = 0.0) -> float:
    """Check a finite number of seconds, or of anything else, that is at least so large."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidConfiguration(setting, f"is of type {type(value).__name__}", expected)
    if not is_finite(value) or value < least:
        raise InvalidConfiguration(setting, f"is {value!r}", expected)
    return float(value)


def checked_rate(rate: float) -> float:
    """Check a number of requests per second."""
    expected = "requests per second, 0.00001 to 1000000, or None"
    checked = checked_seconds("rate", rate, expected)
    if not 1e-5 <= checked <= 1e6:
        raise InvalidConfiguration("rate", f"is {rate!r}", expected)
    return checked


def checked_concurrency(concurrency: int) -> int:
    """Check a number of calls at a time."""
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise InvalidConfiguration("concurrency", f"is {concurrency!r}", "a whole number, 1 or more")
    return concurrency


def default_timeout() -> httpx.Timeout:
    """Make the bounds of a client that was given none, with a long read: the gateway may ask an operator first."""
    return httpx.Timeout(connect=5.0, write=5.0, read=15.0, pool=None)


def checked_timeout(timeout: httpx.Timeout | float) -> httpx.Timeout:
    """Make an `httpx.Timeout` of a number of seconds, which then bounds every step."""
    if isinstance(timeout, httpx.Timeout):
        return timeout
    if is_made_by_httpx("Timeout", timeout):
        return httpx.Timeout(**cast("httpx.Timeout", timeout).as_dict())
    seconds = _seconds_above_zero("timeout", timeout, "an httpx.Timeout, or a number of seconds above 0")
    return httpx.Timeout(seconds, pool=None)


def checked_instance(setting: str, value: object, type_: type, expected: str) -> None:
    """Check that a setting is of the type that is written in the constructor."""
    if not isinstance(value, type_):
        raise InvalidConfiguration(setting, f"is of type {type(value).__name__}", expected)


def httpx_library(value: object, class_name: str = "AsyncClient") -> ModuleType | None:
    """Give the library, httpx or httpx2, that an object is of; `None`: of neither."""
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)  # one that is not imported has made nothing
        if library is not None and isinstance(value, getattr(library, class_name)):
            return library
    return None


def is_made_by_httpx(class_name: str, value: object) -> bool:
    """Whether an object is of a class of httpx, or of the one of httpx2 that is called the same."""
    return httpx_library(value, class_name) is not None
