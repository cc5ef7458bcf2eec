"""Report URLs: an id, a token that nobody else can make, and the check of one that came back.

    https://example.com/hooks/sms/<token>        token = base64url(nonce ‖ mark ‖ MAC), 54 characters
                                                 mark = HMAC-SHA256(secret, domain ‖ nonce), 8 bytes
                                                 MAC = HMAC-SHA256(secret, domain ‖ nonce ‖ number), 16 bytes

The gateway does not sign its reports. So the URL that a request names is what tells a real report from a
forged one: its nonce is the request's report id, and its MAC says that who has the secret made it for this
number. The number stands in the body; the mark says before that is read whether the token is one of ours at
all, so that a stranger's body costs nothing.

Rules of this module:

- No I/O and no clock; the one thing that is not a function of its arguments is `new_id`.
- A token is read in its one spelling. MACs are compared in constant time, and with every secret, so that the
  time does not tell which one fits.
- The secrets stay in `Secret`s. An error never shows one, nor a URL, nor a number.
"""

# The annotations are for users' type checkers; the checks are for everybody else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import base64
import hmac
import re
import secrets as random_source
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import attrs
import httpx

from .._config import is_loopback
from .._exceptions import InvalidConfiguration
from .._redaction import Secret

__all__ = [
    "SECRET_BYTES",
    "Base",
    "Claim",
    "Secrets",
    "is_report_id",
    "make_token",
    "new_id",
    "normalised",
    "read_base",
    "read_secrets",
    "read_token",
]

SECRET_BYTES: Final = 16
"""Bytes that a secret has at least: 128 bits, as many as the nonce and the MAC have."""

Secrets: TypeAlias = tuple[Secret, ...]
"""The first one signs, all of them verify."""

_NONCE_BYTES: Final = 16
_MARK_BYTES: Final = 8
_MAC_BYTES: Final = 16
# With its version, so that the secret may serve elsewhere too and a later format is another one.
_DOMAIN: Final = b"gateway360-async report url 1\0"

_REPORT_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{54}", re.ASCII)
_MSISDN: Final = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})", re.ASCII)  # as `_models` has it
# What needs no escape in a URL: then the path that is asked for is, letter by letter, the one that is served.
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){0,10}", re.ASCII)

_URL_EXPECTED: Final = "an absolute https:// URL, such as 'https://example.com/hooks/sms'"
_SECRET_EXPECTED: Final = (
    f"at least {SECRET_BYTES} random bytes that only your servers know, as a str or bytes, such as "
    "secrets.token_hex(32) makes, or a sequence of them: the first one signs, all of them verify"
)


def new_id() -> str:
    """Make a report id: 128 random bits, as 32 hexadecimal digits."""
    return random_source.token_hex(_NONCE_BYTES)


def is_report_id(value: object) -> bool:
    """Whether a value is a report id in its one spelling."""
    return isinstance(value, str) and _REPORT_ID.fullmatch(value) is not None


def normalised(number: str) -> str | None:
    """Give the digits of an international number, without a leading `+` or `00`; `None`: it is none."""
    match = _MSISDN.fullmatch(number)
    return None if match is None else match[1]


def read_secrets(secret: str | bytes | Sequence[str | bytes]) -> Secrets | InvalidConfiguration:
    """Wrap the secrets that were given. An error is returned, for the caller to raise without this frame."""
    given: list[object] = list(secret) if isinstance(secret, (list, tuple)) else [secret]
    read: list[Secret] = []
    problem = None if given else "is an empty sequence"
    for value in given:
        raw = _secret_bytes(value)
        if raw is None:
            problem = f"is of type {type(value).__name__}" if not isinstance(value, str) else "is not Unicode"
        elif len(raw) < SECRET_BYTES:
            problem = f"has {len(raw)} bytes"
        else:
            read.append(Secret(raw.decode("latin-1")))
    return tuple(read) if problem is None else InvalidConfiguration("secret", problem, _SECRET_EXPECTED)


def _secret_bytes(value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


@attrs.frozen
class Base:
    """Where reports are posted to.

    Args:
        url: What comes before `/` and the token.
        path: The path of it, with a leading slash; `""` for the root.
    """

    url: str
    path: str


def read_base(url: str, *, allow_insecure: bool) -> Base:
    """Read the URL under which the reports' route is served, or raise `InvalidConfiguration`."""
    problem = f"is of type {type(url).__name__}" if not isinstance(url, str) else None
    if problem is None:
        try:
            parsed = httpx.URL(url)
            host, port = parsed.host, parsed.port  # may be the first to notice that the text is no URL
        except (httpx.InvalidURL, ValueError):
            problem = "is not a URL"
        else:
            problem = _base_problem(url, parsed, host, port, allow_insecure=allow_insecure)
            if problem is None:
                path = parsed.raw_path.decode("ascii").rstrip("/")
                return Base(str(parsed.copy_with(raw_path=path.encode("ascii") or b"/")).rstrip("/"), path)
    raise InvalidConfiguration("url", problem, _URL_EXPECTED)


def _base_problem(
    url: str, parsed: httpx.URL, host: str, port: int | None, *, allow_insecure: bool
) -> str | None:
    if parsed.scheme not in ("http", "https") or not host or "%" in host or port == 0 or (port or 1) > 65535:
        return "is not an absolute http:// or https:// URL"
    if parsed.userinfo or set(url) & set("?#"):
        return "holds a user, a query or a fragment"
    if not _PATH.fullmatch(parsed.raw_path.decode("ascii").rstrip("/")):
        return "has a path with other characters than letters, digits and . _ ~ -, or an empty or long step"
    if parsed.scheme == "http" and not allow_insecure and not is_loopback(host):
        return "is plain http:// to another machine, where its token could be read on the way (allow_insecure=True)"
    return None


def make_token(keys: Secrets, report_id: str, msisdn: str) -> str:
    """Make the last segment of a request's report URL.

    Args:
        keys: The secrets; the first one signs.
        report_id: The request's report id.
        msisdn: The request's number, as `normalised` gives it.
    """
    nonce = bytes.fromhex(report_id)
    raw = nonce + _mark(keys[0], nonce) + _mac(keys[0], nonce, msisdn)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


@attrs.frozen(repr=False)
class Claim:
    """What a token says, before it is known whether it is true."""

    nonce: bytes
    mark: bytes
    mac: bytes

    @property
    def report_id(self) -> str:
        """The report id that the token claims to be of."""
        return self.nonce.hex()

    def is_ours(self, keys: Iterable[Secret]) -> bool:
        """Whether the token was made with one of these secrets, for whatever number."""
        return any([hmac.compare_digest(self.mark, _mark(key, self.nonce)) for key in keys])  # noqa: C419

    def holds(self, keys: Iterable[Secret], msisdn: str) -> bool:
        """Whether the token was made with one of these secrets, for this number."""
        # A list and not a generator: all are compared, whichever fits.
        return any([hmac.compare_digest(self.mac, _mac(key, self.nonce, msisdn)) for key in keys])  # noqa: C419


def read_token(token: str) -> Claim | None:
    """Take a token apart; `None`: it is not one, or not in its one spelling."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token + "==")
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != token:
        return None  # the last character has four bits that say nothing; set, they would be a second spelling
    marked = _NONCE_BYTES + _MARK_BYTES
    return Claim(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:marked], raw[marked:])


def _mark(key: Secret, nonce: bytes) -> bytes:
    return _digest(key, nonce)[:_MARK_BYTES]


def _mac(key: Secret, nonce: bytes, msisdn: str) -> bytes:
    # The nonce has a fixed length, so no two pairs of nonce and number make the same text, nor does a number and
    # none: the mark's text is the nonce alone.
    return _digest(key, nonce + msisdn.encode("ascii"))[:_MAC_BYTES]


def _digest(key: Secret, text: bytes) -> bytes:
    return hmac.digest(key.reveal().encode("latin-1"), _DOMAIN + text, "sha256")
