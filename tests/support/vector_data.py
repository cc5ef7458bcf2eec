"""The facts of the gateway's API as data (`vectors/`), and the bodies that they only describe."""

import json
from pathlib import Path

from gateway360_async import PinParams, PinRequest

_FOLDER = Path(__file__).parents[1] / "vectors"

REQUESTS = json.loads((_FOLDER / "requests.json").read_text(encoding="utf-8"))
VALID_REQUESTS = [vector for vector in REQUESTS if vector["valid"]]
INVALID_REQUESTS = [vector for vector in REQUESTS if not vector["valid"]]
NUMBERS = json.loads((_FOLDER / "numbers.json").read_text(encoding="utf-8"))
RESPONSES = json.loads((_FOLDER / "responses.json").read_text(encoding="utf-8"))


def vector_id(vector):
    """Name a vector in pytest's output."""
    return vector["id"]


def build_request(fields):
    """Build the `PinRequest` of a request vector."""
    fields = dict(fields)
    if "pin_params" in fields:
        fields["pin_params"] = PinParams(**fields["pin_params"])
    return PinRequest(**fields)


def build_body(described):
    """Make the bytes of a response vector's `body`."""
    if not described.startswith("@"):
        return described.encode()
    shape, _, argument = described[1:].partition(":")
    if shape == "hex":
        return bytes.fromhex(argument)
    count = int(argument)
    return {
        "deep": lambda: b"[" * count,
        "hugeint": lambda: b'{"status":"ok","x":' + b"7" * count + b"}",
        "pad": lambda: b'{"status":"ok","pad":"' + b"x" * count + b'"}',
    }[shape]()


def build_headers(vector):
    """Give the headers of a response vector."""
    return vector.get("headers", {"content-type": "application/json"})
