"""Benchmarks: speed, memory, duplicates and long runs under faults. `python -m benchmarks --help` lists them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
API_KEY: Final = "bench-key"
SENDER: Final = "GOOD PIZZA"
PATH: Final = "/api/2fa/request"
_PREFIX: Final = "346"


def number(index: int) -> str:
    """Return the number with an index below 100,000,000."""
    return f"{_PREFIX}{index:08d}"


def index_of(msisdn: str) -> int:
    """Return the index of a number; `ValueError` for one that `number` does not make."""
    if not msisdn.startswith(_PREFIX) or len(msisdn) != len(_PREFIX) + 8:
        raise ValueError(msisdn)
    return int(msisdn.removeprefix(_PREFIX))


def payload(msisdn: str) -> dict[str, object]:
    """Return the body as people write it, field for field as our client sends it."""
    return {"api_key": API_KEY, "msisdn": msisdn, "sender": SENDER, "hlr_lookup": 1}
