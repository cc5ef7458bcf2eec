"""Run benchmarks by their names, or without a name the comparison with what people write by hand."""

import sys
from importlib import import_module
from itertools import takewhile
from typing import Final

_MODULES: Final = {
    **{name: name for name in ("blocking", "numbers", "phone", "storm", "task_cpu")},
    **{name: f"{name}.__main__" for name in ("duplicates", "soak", "stores")},
}


def _main(words: list[str]) -> int:
    names = list(takewhile(_MODULES.__contains__, words))
    modules = [_MODULES[name] for name in names] or ["compare"]
    return max(import_module(f"benchmarks.{module}").main(words[len(names) :]) for module in modules)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
