"""Numbers: what is understood of what people type, and the cost of reading it.

    python -m benchmarks.numbers [COUNT]

Three tables: national mobiles of ten countries, COUNT (2,000) of each, written in each way that people there write them, with
their region and without; CPU microseconds a number, alone and within a request; and the pause for the first number of each
calling code.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from gateway360_async import InvalidRequest, PinRequest, parse_msisdn

from . import ROOT, SENDER
from .meter import Clock
from .process import measure, timed
from .report import options

sys.path.insert(0, str(ROOT / "tests"))
from support.written_numbers import COUNTRIES, mobiles, reading  # the tests' own, of which they show fewer

_CLEAN = "34666666111"
_MESSY = (
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
        with Clock() as clock:
            for _ in range(times):
                work()
        best = min(best, clock.cpu)
    return best / times * 1e6


def first_numbers(numbers: list[str]) -> dict[str, list[tuple[float, str]]]:
    """Return the milliseconds for each number, in a process that has read none of its calling code, the longest first."""
    with contextlib.suppress(InvalidRequest):
        parse_msisdn("none", line_types="any")  # imports what all codes share
    found: list[tuple[float, str]] = []
    for msisdn in numbers:
        with Clock() as clock:
            parse_msisdn(msisdn, line_types="any")
        found.append((clock.seconds * 1e3, msisdn))
    return {"ms": sorted(found, reverse=True)}


def _example(code: int, regions: tuple[str, ...]) -> str:
    # The last region of a shared code: all before it are looked at.
    example = (
        phonenumbers.example_number_for_non_geo_entity(code)
        if regions[0] == "001"
        else phonenumbers.example_number_for_type(regions[-1], PhoneNumberType.MOBILE)
        or phonenumbers.example_number(regions[-1])
    )
    assert example is not None
    return phonenumbers.format_number(example, PhoneNumberFormat.E164)


def main(words: Sequence[str]) -> int:
    count = options("benchmarks.numbers", __doc__, words, COUNT=2000).COUNT
    print(f"National mobiles, {count} of each country, each in every way that people there write it\n")
    print("region     ways   right with region   refused without   taken for another country's")
    for region in COUNTRIES:
        _, ways, right, refused, other = reading(region, count)
        print(f"{region}   {ways:10d}   {right / ways:17.2%}   {refused / ways:15.2%}   {other / ways:26.2%}")
    print("\nCPU µs a number")
    clean = _microseconds(lambda: parse_msisdn(_CLEAN), 20_000)
    request = _microseconds(lambda: PinRequest(_CLEAN, SENDER), 20_000)
    print(f"  clean, {_CLEAN}: {clean:.2f}; of a whole PinRequest: {request:.2f}")
    for region in COUNTRIES:
        msisdn = f"{phonenumbers.country_code_for_region(region)}{next(mobiles(region, 1))}"
        spent = _microseconds(lambda msisdn=msisdn: parse_msisdn(msisdn), 10_000)
        print(f"  clean, of {region}: {spent:.2f}")
    for text, home in _MESSY:
        spent = _microseconds(lambda text=text, home=home: parse_msisdn(text, region=home), 2_000)
        print(f"  messy, {text!r:40} region {home}: {spent:.1f}")
    print("\nms for the first number of a calling code, the five longest of all")
    numbers = [_example(*item) for item in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()]
    for ms, msisdn in measure("numbers:first_numbers", numbers=numbers)["ms"][:5]:
        print(f"  {msisdn[:5]}…: {ms:.1f}")
    print("\nCPU ms to import")
    for module in ("httpx", "gateway360_async", "phonenumbers"):
        print(f"  {module}: {min(timed(f'import {module}', 'process_time') for _ in range(7)) * 1e3:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
