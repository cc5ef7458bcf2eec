"""Who asks: whether a request was meant for the sandbox, and whether a page of another website sent it.

Rules of this module:

- Any website that is open in a browser of this machine can send requests to loopback, and may have a name of
  its own point here (DNS rebinding), which makes the sandbox's answers its own to read. Both can be told by
  headers that no website can set: `Host` and `Origin`.
- What is no browser is let through: it sends no `Origin`, and what it is told to ask is up to its user.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

__all__ = ["NOT_OWN_NAME", "OTHER_SITE", "is_other_site", "is_own_name"]

NOT_OWN_NAME: Final = (
    "This is not the sandbox's name: use its address, or localhost; or allow this name (--allow-host)."
)
OTHER_SITE: Final = "This request comes from another website."


def is_own_name(headers: Headers, names: Collection[str]) -> bool:
    """Whether a request names the sandbox: by an address, as localhost, or by one of its names.

    Args:
        headers: The request's.
        names: Its names, in lower case: what it listens on, and those that its owner allows.
    """
    host = headers.get("host")
    if host is None:
        return True  # HTTP/1.0: every browser names one
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:  # an unclosed bracket
        return False
    if name in {"localhost", *names} or name.endswith(".localhost"):
        return True
    try:
        # An address cannot be rebound: a browser that names one has come to where it meant to go.
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_other_site(headers: Headers) -> bool:
    """Whether a browser says that a page of another website sends this."""
    origin = headers.get("origin")
    # Compared as text: what is malformed ("http://[") or is no website ("null") is not the sandbox's own.
    return origin is not None and origin.partition("://")[2] != headers.get("host")
