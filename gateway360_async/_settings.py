"""The client's settings: read, checked and normalised before anything is sent.

Rules of this module:

- An error names the setting as the constructor spells it, and says what is right. It never shows the API
  key, nor a URL (which may hold a password).
- The environment is read in one place, here, and only for what was not given.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import ipaddress
import math
import os
from typing import Final

import httpx

from ._errors import InvalidConfiguration
from ._payloads import SENDER_EXPECTED, sender_problem
from ._secret import Secret

__all__ = [
    "API_KEY_VARIABLE",
    "BASE_URL_VARIABLE",
    "DEFAULT_BASE_URL",
    "DEFAULT_TIMEOUT",
    "checked_api_key",
    "checked_concurrency",
    "checked_deadline",
    "checked_instance",
    "checked_sender",
    "checked_timeout",
    "endpoint",
]

API_KEY_VARIABLE: Final = "GATEWAY360_API_KEY"
BASE_URL_VARIABLE: Final = "GATEWAY360_BASE_URL"
DEFAULT_BASE_URL: Final = "https://api.gateway360.com"

DEFAULT_TIMEOUT: Final = httpx.Timeout(connect=5.0, write=5.0, read=15.0, pool=None)
"""With `hlr_lookup` the gateway asks an operator before it answers, hence the long read."""


def checked_api_key(api_key: str | None) -> Secret:
    """Wrap the key that was given, or the environment's."""
    value: object = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
    expected = f"the account's key, given as `api_key` or in the environment as {API_KEY_VARIABLE}"
    if not value:
        raise InvalidConfiguration("api_key", "is missing", expected)
    if not isinstance(value, str):
        raise InvalidConfiguration("api_key", f"is of type {type(value).__name__}", expected)
    if value.strip() != value or not value.isprintable():
        raise InvalidConfiguration("api_key", "holds a control character, or white space at an end", expected)
    return Secret(value)


def checked_sender(sender: str | None) -> str | None:
    """Check the default sender by the rule for a request's."""
    problem = None if sender is None else sender_problem(sender)
    if problem is not None:
        raise InvalidConfiguration("sender", problem, SENDER_EXPECTED)
    return sender


def endpoint(base_url: str | httpx.URL | None, path_prefix: str, path: str, *, allow_insecure: bool) -> str:
    """Make the URL to post to, and refuse one that would show the key to the network."""
    expected = "an absolute https:// URL without user, password, query and fragment"
    try:
        url = httpx.URL(base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL)
    except (httpx.InvalidURL, TypeError):
        raise InvalidConfiguration("base_url", "is not a URL", expected) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidConfiguration("base_url", "is not an absolute http:// or https:// URL", expected)
    if url.userinfo or url.query or url.fragment:
        raise InvalidConfiguration("base_url", "holds a user, a query or a fragment", expected)
    if url.scheme == "http" and not allow_insecure and not _is_loopback(url.host):
        problem = "is plain http:// to another machine, where the API key could be read on the way"
        raise InvalidConfiguration("base_url", problem, "https://, or allow_insecure=True")
    return str(url.copy_with(path=f"{url.path.rstrip('/')}{_prefix(path_prefix)}{path}"))


def _prefix(path_prefix: str) -> str:
    expected = "a path such as '/api' or '/api/3.0', or ''"
    if not isinstance(path_prefix, str):
        raise InvalidConfiguration("path_prefix", f"is of type {type(path_prefix).__name__}", expected)
    prefix = path_prefix.rstrip("/")
    if prefix and (not prefix.startswith("/") or not prefix.isprintable() or set(prefix) & set("?# ")):
        raise InvalidConfiguration("path_prefix", "is not a path", expected)
    return prefix


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_deadline(deadline: float) -> float:
    """Check a deadline: there is always one."""
    expected = "a finite number of seconds above 0"
    if not isinstance(deadline, (int, float)) or isinstance(deadline, bool):
        raise InvalidConfiguration("deadline", f"is of type {type(deadline).__name__}", expected)
    if not math.isfinite(deadline) or deadline <= 0:
        raise InvalidConfiguration("deadline", f"is {deadline!r}", expected)
    return float(deadline)


def checked_concurrency(concurrency: int) -> int:
    """Check a number of calls at a time."""
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise InvalidConfiguration("concurrency", f"is {concurrency!r}", "a whole number, 1 or more")
    return concurrency


def checked_timeout(timeout: httpx.Timeout | float) -> httpx.Timeout:
    """Make an `httpx.Timeout` of a number of seconds, which then bounds every step."""
    if isinstance(timeout, httpx.Timeout):
        return timeout
    expected = "an httpx.Timeout, or a number of seconds above 0"
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise InvalidConfiguration("timeout", f"is of type {type(timeout).__name__}", expected)
    if not math.isfinite(timeout) or timeout <= 0:
        raise InvalidConfiguration("timeout", f"is {timeout!r}", expected)
    return httpx.Timeout(timeout, pool=None)


def checked_instance(setting: str, value: object, type_: type, expected: str) -> None:
    """Check that a setting is of the type that is written in the constructor."""
    if not isinstance(value, type_):
        raise InvalidConfiguration(setting, f"is of type {type(value).__name__}", expected)
