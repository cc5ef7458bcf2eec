"""The start of each process of a benchmark: it runs one function, and prints the result as a line of JSON.

    python -m benchmarks.worker '{"function": "module:name", "loop": "asyncio", "arguments": {}}'

Before that the function may print lines with `say`, and read the parent's with `orders`.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncGenerator, Callable
from importlib import import_module
from typing import Any


def say(**words: Any) -> None:
    """Print a line for the parent."""
    print(json.dumps(words), flush=True)


async def orders() -> AsyncGenerator[dict[str, Any], None]:
    """Yield the parent's lines, until it closes this process' input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    import uvloop  # not on every platform

    return uvloop.new_event_loop


def _run(function: str, loop: str, arguments: dict[str, Any]) -> Any:
    module, _, name = function.partition(":")
    try:
        result = getattr(import_module(f"benchmarks.{module}"), name)(**arguments)
        if inspect.iscoroutine(result):
            with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
                result = runner.run(result)
    except ModuleNotFoundError as exc:
        return {"not_available": f"{exc.name} is not installed"}
    return result


if __name__ == "__main__":
    found = _run(**json.loads(sys.argv[1]))
    if found is not None:
        say(**found)
