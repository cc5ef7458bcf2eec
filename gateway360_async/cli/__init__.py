"""The command `gateway360`.

Invariants:

- The API key comes from the environment or from a prompt, and a PIN from stdin or a prompt, never from an
  argument: arguments show in process lists and shell histories.
- A person's mistake (an option, a file, a port, a key) is one line on stderr and exit code 2, without a
  traceback, and before anything is sent.
- Results go to stdout or a file, everything else to stderr; with --json, each is a JSON object.

Exit codes: 0 all were sent, 1 some were not, 2 usage, 3 the batch was halted, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import json
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from ._app import invoke  # noqa: PLC0415  # its libraries are extras, and may be missing

        code = invoke()
    except ImportError as exc:
        if exc.name is not None and exc.name.startswith("gateway360_async"):
            raise
        code = 2
        problem = (
            str(exc) if exc.name is None else f"{exc.name} is not installed: install gateway360-async[all]"
        )
        as_json = json.dumps({"problem": problem, "exit_code": code})
        print(as_json if "--json" in sys.argv else f"gateway360: {problem}", file=sys.stderr)  # noqa: T201
    raise SystemExit(code)
