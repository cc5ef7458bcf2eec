"""Delivery report tokens, which only a holder of the secret can make.

    https://example.com/hooks/sms/<token>        token = base64url(nonce ‖ tag ‖ MAC), 54 characters
                                                 tag = HMAC-SHA256(secret, domain ‖ nonce), 8 bytes
                                                 MAC = HMAC-SHA256(secret, domain ‖ nonce ‖ number), 16 bytes

The gateway does not sign its reports, so their URL tells a real one from a forged one. The nonce is the report id,
which correlates a report with its request. The tag is checked before a body is read, so that a stranger's body costs
nothing; the MAC binds the token to the number that stands in the body.

- A token has one spelling. It is compared in constant time, and with every secret.
- An error never shows a secret, a URL or a number.
"""

# Type checkers read the annotations; the checks serve everything else at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Final

import attrs
import httpx

from .._config import checked_instance, is_loopback
from .._exceptions import InvalidConfiguration
from .._redaction import Secret

__all__ = ["ID_BYTES", "Tokens", "read_base", "read_secrets"]

ID_BYTES: Final = 16
"""Random bytes of a report id, which is a token's nonce."""

_SECRET_BYTES: Final = 16  # 128 bits, as many as the nonce and the MAC have
_TAG_BYTES: Final = 8
_MAC_BYTES: Final = 16
# With its version, so that the secret may serve elsewhere too and a later format is another one.
_DOMAIN: Final = b"gateway360-async report url 1\0"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{54}", re.ASCII)
# Characters that need no escape in a URL: then the path is served as it is asked for, letter by letter.
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){0,10}", re.ASCII)
_URL_EXPECTED: Final = "an absolute https:// URL, such as 'https://example.com/hooks/sms'"
_SECRET_EXPECTED: Final = (
    f"at least {_SECRET_BYTES} random bytes that only your servers know, as a str or bytes, such as "
    "secrets.token_hex(32) makes, or a sequence of them: the first one signs, all of them verify"
)


@attrs.frozen
class Tokens:
    """Makes tokens with the first secret, and verifies them with all."""

    _secrets: tuple[Secret, ...]

    def make(self, report_id: str, msisdn: str) -> str:
        nonce = bytes.fromhex(report_id)
        # The nonce has a fixed length: no two pairs of nonce and number, nor a nonce alone, are the same text.
        tag, mac = self._digests(nonce)[0], self._digests(nonce + msisdn.encode("ascii"))[0]
        return _encoded(nonce + tag[:_TAG_BYTES] + mac[:_MAC_BYTES])

    def report_id_of(self, token: object) -> str | None:
        """Return the report id of a token; `None`: it was not made here as it is."""
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None
        raw = base64.urlsafe_b64decode(token + "==")
        nonce = raw[:ID_BYTES]
        # The last character has four bits that say nothing; set, they would be a second spelling.
        is_ours = _begins_one_of(raw[ID_BYTES:-_MAC_BYTES], self._digests(nonce)) and _encoded(raw) == token
        return nonce.hex() if is_ours else None

    def is_for(self, token: str, msisdn: str) -> bool:
        """Tell whether a token that was made here is for this number."""
        raw = base64.urlsafe_b64decode(token + "==")
        return _begins_one_of(raw[-_MAC_BYTES:], self._digests(raw[:ID_BYTES] + msisdn.encode("ascii")))

    def _digests(self, text: bytes) -> list[bytes]:
        keys = [secret.reveal().encode("latin-1") for secret in self._secrets]
        return [hmac.digest(key, _DOMAIN + text, "sha256") for key in keys]


def _begins_one_of(given: bytes, digests: list[bytes]) -> bool:
    # A list and not a generator: all are compared, whichever fits, so that the time does not tell which does.
    return any([hmac.compare_digest(given, digest[: len(given)]) for digest in digests])  # noqa: C419


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def read_secrets(secret: str | bytes | Sequence[str | bytes]) -> Tokens | InvalidConfiguration:
    """Wrap the secrets. An error is returned, to be raised without this frame."""
    given: list[object] = list(secret) if isinstance(secret, (list, tuple)) else [secret]
    read: list[Secret] = []
    problem = None if given else "is an empty sequence"
    for value in given:
        try:
            raw = value.encode() if isinstance(value, str) else value
        except UnicodeEncodeError:
            problem = "is not Unicode"
            continue
        if not isinstance(raw, bytes):
            problem = f"is of type {type(value).__name__}"
        elif len(raw) < _SECRET_BYTES:
            problem = f"has {len(raw)} bytes"
        else:
            read.append(Secret(raw.decode("latin-1")))
    return (
        Tokens(tuple(read)) if problem is None else InvalidConfiguration("secret", problem, _SECRET_EXPECTED)
    )


def read_base(url: str, *, allow_insecure: bool) -> tuple[str, str]:
    """Read the URL of the reports' route, or raise `InvalidConfiguration`.

    Returns:
        The part before `/` and the token; and its path, with a leading slash, or `""` for the root.
    """
    checked_instance("url", url, str, _URL_EXPECTED)
    problem = None
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port  # may be the first to notice that the text is no URL
    except (httpx.InvalidURL, ValueError):
        problem = "is not a URL"
    else:
        path = parsed.raw_path.decode("ascii").rstrip("/")
        if (
            parsed.scheme not in ("http", "https")
            or not host
            or "%" in host
            or port == 0
            or (port or 1) > 65535
        ):
            problem = "is not an absolute http:// or https:// URL"
        elif parsed.userinfo or set(url) & set("?#"):
            problem = "holds a user, a query or a fragment"
        elif not _PATH.fullmatch(path):
            problem = (
                "has a path with other characters than letters, digits and . _ ~ -, or an empty or long step"
            )
        elif parsed.scheme == "http" and not allow_insecure and not is_loopback(host):
            problem = "is plain http:// to another machine, where its token could be read on the way (allow_insecure=True)"
        else:
            return str(parsed.copy_with(raw_path=path.encode("ascii") or b"/")).rstrip("/"), path
    raise InvalidConfiguration("url", problem, _URL_EXPECTED)
