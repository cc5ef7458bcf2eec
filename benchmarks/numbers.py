"""Numbers: what is understood of what people type, and what reading it costs.

    python -m benchmarks.numbers

Three tables: national mobiles of ten countries, written in each way that people there write them, with their region and
without; CPU microseconds a number, with the same request before numbers were checked beside it; and the pause for the
first number of each calling code.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from gateway360_async import PinRequest, parse_msisdn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.written_numbers import COUNTRIES, mobiles, reading  # the tests' own, of which they show fewer

CLEAN = "34666666111"
MESSY = (
    ("+34 666 666 111", None),
    ("\u202a+34\u00a0666\u00a0666\u00a0111\u202c", None),
    ("+44 (0)7911 123456", None),
    ("\u0663\u0664\u0666\u0666\u0666\u0666\u0666\u0666\u0661\u0661\u0661", None),
    ("666 666 111", "ES"),
    ("06 12 34 56 78", "FR"),
    ("0171/1234567", "DE"),
    ("(416) 555-0100", "US"),
    ("347 123 4567", "IT"),
)


def _microseconds(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(7):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def _first_numbers() -> list[tuple[float, str]]:
    """Measure the first number of each calling code, in a process that has read none: seconds, and the code."""
    script = (
        "import time, sys\n"
        "from gateway360_async._numbers import number_reader\n"
        "reader = number_reader(None, 'any')\n"
        "for line in sys.stdin.read().split():\n"
        "    began = time.perf_counter()\n"
        "    reader.read(line)\n"
        "    print(time.perf_counter() - began)\n"
    )
    numbers: list[str] = []
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        # The last region of a shared code: all before it are looked at.
        example = (
            phonenumbers.example_number_for_non_geo_entity(code)
            if regions[0] == "001"
            else phonenumbers.example_number_for_type(regions[-1], PhoneNumberType.MOBILE)
            or phonenumbers.example_number(regions[-1])
        )
        assert example is not None
        numbers.append(phonenumbers.format_number(example, PhoneNumberFormat.E164))
    answer = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(numbers), text=True, capture_output=True, check=True
    )
    return sorted(zip(map(float, answer.stdout.split()), numbers, strict=True), reverse=True)


def _imported(module: str) -> float:
    """Give the least CPU milliseconds of a process that imports a module."""
    script = f"import time; b = time.process_time(); import {module}; print(time.process_time() - b)"
    runs = [
        subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=True).stdout
        for _ in range(7)
    ]
    return min(map(float, runs)) * 1e3


def main(count: int) -> None:
    """Print the tables."""
    print(f"National mobiles, {count} of each country, each in every way that people there write it\n")
    print("region     ways   right with region   refused without   taken for another country's")
    for region in COUNTRIES:
        _, ways, right, refused, other = reading(region, count)
        print(f"{region}   {ways:10d}   {right / ways:17.2%}   {refused / ways:15.2%}   {other / ways:26.2%}")
    print("\nCPU µs a number")
    clean = _microseconds(lambda: parse_msisdn(CLEAN), 20_000)
    print(f"  clean, {CLEAN}: {clean:.2f}; of a whole PinRequest: ", end="")
    print(f"{_microseconds(lambda: PinRequest(CLEAN, 'GOOD PIZZA'), 20_000):.2f}")
    for region in COUNTRIES:
        number = f"{phonenumbers.country_code_for_region(region)}{next(mobiles(region, 1))}"
        text = _microseconds(lambda number=number: parse_msisdn(number), 10_000)
        print(f"  clean, of {region}: {text:.2f}")
    for text, home in MESSY:
        spent = _microseconds(lambda text=text, home=home: parse_msisdn(text, region=home), 2_000)
        print(f"  messy, {text!r:40} region {home}: {spent:.1f}")
    print("\nms for the first number of a calling code, the five longest of all")
    for seconds, number in _first_numbers()[:5]:
        print(f"  {number[:5]}…: {seconds * 1e3:.1f}")
    print("\nCPU ms to import")
    for module in ("httpx", "gateway360_async", "phonenumbers"):
        print(f"  {module}: {_imported(module):.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
