"""Phone numbers: from the text that people type to the digits that go on the wire.

Invariants:

- A text is understood as the number that was meant, or refused. It never becomes another number.
- The quick way says yes or nothing. After nothing, `phonenumbers` decides.
- `phonenumbers` is imported for the first reader, and a calling code's metadata with its first number: importing all of
  it takes a quarter of a second, which no busy loop may pay.
- No text that is made here holds a whole number.
"""

from ._cleaning import NUMBER_EXPECTED
from ._plans import REGION_EXPECTED, calling_code, region_of, region_problem
from ._reader import (
    LineTypes,
    Msisdn,
    NumberReader,
    checked_before,
    checked_line_types,
    checked_region,
    number_reader,
    parse_msisdn,
    read_number,
)

__all__ = [
    "NUMBER_EXPECTED",
    "REGION_EXPECTED",
    "LineTypes",
    "Msisdn",
    "NumberReader",
    "calling_code",
    "checked_before",
    "checked_line_types",
    "checked_region",
    "number_reader",
    "parse_msisdn",
    "read_number",
    "region_of",
    "region_problem",
]
