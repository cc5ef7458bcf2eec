"""How things are called in Redis: pure.

Rules of this module:

- A name says nothing about a number or about a key of the caller's: it holds a keyed hash, which only who has the
  account's key can make. Another account's or another gateway's wishes have other names.
- Whoever has the same account, gateway and fleet makes the same names.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from .._errors import InvalidConfiguration, InvalidRequest
from .._payloads import PinRequest, checked_idempotency_key
from .._records import Hasher
from .._secret import Secret

__all__ = ["Names", "checked_batch", "checked_name"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def checked_name(value: object) -> str:
    """Check a fleet's name, which its keys begin with. Raises `InvalidConfiguration`."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    problem = f"is {value!r}" if isinstance(value, str) else f"is of type {type(value).__name__}"
    raise InvalidConfiguration("name", problem, "1 to 64 letters, digits, '_', '.' or '-'")


def checked_batch(value: str) -> str:
    """Check a batch's name, which its entries' idempotency keys are made with. Raises `InvalidConfiguration`."""
    try:
        return checked_idempotency_key(value)
    except InvalidRequest as exc:
        raise InvalidConfiguration("batch", "is no name", exc.expected) from None


class Names:
    """The names of one fleet's keys.

    Args:
        fleet: The fleet's name, which they begin with.
        url: Where its requests are posted to.
        api_key: The account's key.
    """

    def __init__(self, fleet: str, url: str, api_key: Secret) -> None:
        self._fleet = fleet
        self._hasher = Hasher(api_key, f"fleet {url}".encode())
        self.memory = f"{fleet}:memory"
        self.account = self._hasher.of_scope(url).hex()
        """What stands for the account and its gateway, and tells nobody which they are."""
        self.turns = self._name("turns", "")
        self.total = self._name("total", "")

    def record(self, idempotency_key: str) -> str:
        """Where what became of a wish is."""
        return self._name("wish", f"key {idempotency_key}")

    def unnamed(self, token: str) -> str:
        """The same of a wish without an idempotency key: no key is like it."""
        return self._name("wish", token)

    def number(self, msisdn: str) -> str:
        """Where what was sent to a number a moment ago is."""
        return self._name("number", msisdn)

    def prefix(self, prefix: str, window: int) -> str:
        """Where the admissions of a prefix are, which may be long enough to be a number.

        Guards with other windows count apart: the shorter one would drop what the longer one still counts.
        """
        return self._name("prefix", f"{prefix} {window}")

    def everybody(self, window: int) -> str:
        """Where all admissions are."""
        return self._name("all", f"{window}")

    def given_up(self, token: str) -> str:
        """Where it says that a claim was given up before it came. A token is random: there is nothing to hide."""
        return f"{self._fleet}:given-up:{token}"

    def fingerprint(self, request: PinRequest) -> bytes:
        """What tells a request from another one."""
        return self._hasher.of_request(request)

    def derived(self, batch: str, request: PinRequest) -> str:
        """The idempotency key of a batch's entry: the same number and payload in the same batch are one wish."""
        return self._hasher.of_entry(batch, request).hex()

    def _name(self, what: str, value: str) -> str:
        digest = self._hasher.of_name(what, value)
        return f"{self._fleet}:{what}:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
