"""The examples of `--help`. The tests run every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["EXAMPLES", "examples_of"]

EXAMPLES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "gateway360": [
        ("See it work, on this machine alone", "gateway360 demo"),
        ("What a file of numbers would do, without sending", "gateway360 batch customers.csv --dry-run"),
        ("Let your shell complete commands and options", "gateway360 --install-completion"),
    ],
    "demo": [
        ("A thousand PINs to a gateway of our own, and every SMS accounted for", "gateway360 demo"),
        ("More of them, for a program to read", "gateway360 demo --count 2000 --json"),
        ("Two processes share a batch, and one is killed on the way", "gateway360 demo --processes 2"),
    ],
    "request": [
        ("One PIN", 'gateway360 request +34666666111 --sender "GOOD PIZZA"'),
        (
            "Its text, and what the PIN is like",
            (
                'gateway360 request +34666666111 --sender "GOOD PIZZA" \\\n'
                '  --sms-text "Your code is {PIN}" --pin-type alpha --pin-length 8'
            ),
        ),
    ],
    "verify": [
        ("It asks for the PIN, and does not show it", "gateway360 verify +34666666111"),
        ("From another program", 'echo "$PIN" | gateway360 verify +34666666111 --json'),
    ],
    "batch": [
        (
            "What would be sent, what is wrong, and how long it would take",
            'gateway360 batch customers.csv --sender "GOOD PIZZA" \\\n  --rate 30/s --dry-run',
        ),
        (
            "Send it, and be able to go on whatever happens",
            (
                'gateway360 batch customers.csv --sender "GOOD PIZZA" \\\n'
                "  --rate 30/s --store customers.db --out results.jsonl \\\n"
                "  --report report.html"
            ),
        ),
        (
            "On any number of machines with the same file: they share it",
            (
                "export GATEWAY360_STORE=redis://localhost:6379/0\n"
                'gateway360 batch customers.csv --sender "GOOD PIZZA" --name welcome \\\n'
                "  --rate 30/s --out results.jsonl"
            ),
        ),
        (
            "What the store knows of it, as a page: nothing is sent",
            (
                'gateway360 batch customers.csv --sender "GOOD PIZZA" \\\n'
                "  --store customers.db --dry-run --report report.html"
            ),
        ),
        (
            "From another program, and to one",
            'cut -d, -f1 customers.csv | gateway360 batch - --sender "GOOD PIZZA" --json',
        ),
    ],
    "store": [
        (
            "The tables of a store in PostgreSQL, before its first use",
            "gateway360 store init postgresql://localhost/pins",
        ),
        ("Whether it may forget what was sent", "gateway360 store check redis://localhost:6379/0"),
        ("After a backup was restored", "gateway360 store new-epoch postgresql://localhost/pins"),
    ],
    "sandbox": [
        ("For your app, with the phone in your browser", "gateway360 sandbox --open"),
        (
            "For a script: a JSON line when it is ready, and one for each SMS",
            "gateway360 sandbox --port 0 --json",
        ),
    ],
}


def examples_of(command: str) -> str:
    """Write a command's examples, each below what it is for."""
    return "Examples:\n\n" + "\n\n".join(f"# {purpose}\n{line}" for purpose, line in EXAMPLES[command])
