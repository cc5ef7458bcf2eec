"""The reader of numbers, for one choice of region and lines."""

# The annotations are for users' type checkers; the checks are for all others at run time.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

from .._exceptions import InvalidConfiguration, InvalidRequest, kind_of, without_arguments, wrong_type
from ._cleaning import cleaned, refused
from ._plans import (
    NO_REGION,
    REGION_EXPECTED,
    Home,
    Plan,
    home_of,
    ordinary_kind,
    plan_by_code,
    plan_of,
    region_problem,
)

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

LineTypes: TypeAlias = Literal["sms", "any"]
"""Which lines a number may be of: those that receive SMS, or any."""

_LINE_TYPES_EXPECTED: Final = "'sms' (lines that receive SMS) or 'any'"
_BOTH_CURES: Final = (
    'the country calling code before it (+34…), or a region for national numbers (region="ES", --region ES)'
)
_ANY_LINE: Final = 'a mobile number, or line_types="any" (--line-types any) to send all the same'
_ON_THE_WIRE: Final = re.compile(r"[1-9][0-9]{6,14}")
_NO_SMS: Final = {
    "fixed_line": "a fixed line",
    "toll_free": "a toll-free number",
    "premium_rate": "a premium-rate number",
    "shared_cost": "a shared-cost number",
    "uan": "a company's access number",
    "voicemail": "a voice mailbox",
    "pager": "a pager",
}


class Msisdn(str):
    """The digits of a number that was checked, and is not checked again."""

    __slots__ = ()


class MsisdnOfAnyLine(Msisdn):
    """The same, of a number whose line may be one that receives no SMS."""

    __slots__ = ()


class _Reading(NamedTuple):
    digits: str
    plan: Plan
    region: str | None
    kind: str | None
    number: PhoneNumber


class NumberReader:
    """Reads numbers, for one region (or none) whose national numbers are understood and one choice of lines."""

    __slots__ = ("_any", "_home", "_mark", "_not_meant", "line_types", "region")

    def __init__(self, region: str | None, line_types: LineTypes) -> None:
        self.region = region
        self.line_types: LineTypes = line_types
        self._any = line_types == "any"
        self._not_meant = frozenset[str]() if self._any else _NO_SMS.keys()
        self._mark = MsisdnOfAnyLine if self._any else Msisdn
        self._home: Home | None = None if region is None else home_of(region)
        plan_by_code(1)  # imports phonenumbers now, rather than in the middle of a batch

    def read(self, value: object) -> str:
        """Read a number. Raises `InvalidRequest`, with this frame and so the number: see `read_number`."""
        if type(value) is Msisdn or (self._any and isinstance(value, Msisdn)):
            return value
        if not isinstance(value, str):
            if value is None:
                raise refused("is missing")
            raise wrong_type("msisdn", value, "a number as text, such as '+34666666111'")
        if self._home is None and (kind := ordinary_kind(value)) is not None and kind not in self._not_meant:
            return self._mark(value)
        if value.isascii() and value.isdigit() and self._is_plain(value):
            return self._mark(value)
        if isinstance(value, Msisdn):
            return self._international(value, value)
        digits, international, body = cleaned(value, national=self._home is not None)
        if international:
            return self._mark(digits) if self._is_ordinary(digits) else self._international(digits, body)
        return self._mark(digits) if self._is_plain(digits) else self._without_plus(digits)

    def two_readings(self, value: object) -> bool:
        """Whether a number that `read` takes for a national one is a valid international one as well."""
        if self._home is None or not isinstance(value, str) or isinstance(value, Msisdn):
            return False
        digits, international, _ = cleaned(value, national=True)
        return not international and not self._is_plain(digits) and all(self._readings(digits))

    def _is_plain(self, digits: str) -> bool:
        """Whether digits without a plus certainly are an international number that needs no change."""
        home = self._home
        return (home is None or home.leaves(digits, self._not_meant)) and self._is_ordinary(digits)

    def _is_ordinary(self, digits: str) -> bool:
        """Whether international digits certainly need no change and no error."""
        kind = ordinary_kind(digits)
        if kind is None and 7 <= len(digits) <= 15 and (plan := plan_of(digits)) is not None:
            kind = plan.kind_of_ordinary(digits)
        return kind is not None and kind not in self._not_meant

    def _international(self, digits: str, body: str) -> str:
        """Read digits that a plus or 00 marks as international: they have to be possible for their country."""
        reading = _parsed(f"+{digits}", None)
        if isinstance(reading, str):
            raise refused(reading)
        problem = reading.plan.length_problem(reading.number)
        if problem is None and not 7 <= len(reading.digits) <= 15:
            problem = f"has {len(reading.digits)} digits"
        if problem is None and reading.kind is None:
            problem = _doubt(reading, body)
        if problem is not None:
            raise refused(problem)
        return self._of_line(reading)

    def _without_plus(self, digits: str) -> str:
        """Read digits that may be national, or international without a plus: valid as the one or the other."""
        national, abroad = self._readings(digits)
        reading = national or abroad
        if reading is None:
            raise refused(*self._why_neither(digits))
        if national and abroad and cast("Home", self._home).lacks_trunk_prefix(national.number, digits):
            problem = (
                f"can be read in two ways, as a number of {self.region} without its trunk prefix and as one of "
                f"+{abroad.plan.code}"
            )
            raise refused(problem, f"+{national.plan.code}… or +{abroad.plan.code}…, whichever is meant")
        return self._of_line(reading)

    def _readings(self, digits: str) -> tuple[_Reading | None, _Reading | None]:
        """Return the national and the international reading: both only where they differ, and either may be meant."""
        national = None if self._home is None else _valid(_parsed(digits, self.region))
        abroad = _valid_abroad(digits)
        if national is not None and abroad is not None:
            if national.digits == abroad.digits:
                return national, None
            # Digits that begin with this region's calling code: 491711234567 is 0171 1234567, and no line of 0491.
            if national.plan is abroad.plan and national.kind in self._not_meant:
                return None, abroad
        return national, abroad

    def _why_neither(self, digits: str) -> tuple[str, str]:
        if self.region is not None:
            problem = f"is neither a valid number of {self.region} nor a valid international one"
            return problem, f"a number as it is dialled within {self.region}, or with its calling code (+34…)"
        if digits.startswith("0"):
            return "starts with 0, as national numbers do, and no region says which country's", _BOTH_CURES
        if not 7 <= len(digits) <= 15:
            return f"has {len(digits)} digits", _BOTH_CURES
        return "is no valid international number, and no region says which country's it is", _BOTH_CURES

    def _of_line(self, reading: _Reading) -> str:
        line = None if self._any else _NO_SMS.get(reading.kind or "")
        if line is not None:
            of = "" if reading.region in (None, NO_REGION) else f" of {reading.region}"
            raise refused(f"is {line}{of}, which receives no SMS", _ANY_LINE)
        return self._mark(reading.digits)


def _parsed(text: str, region: str | None) -> _Reading | str:
    """Have `phonenumbers` read digits, or say why it does not."""
    import phonenumbers  # noqa: PLC0415  # see the package's text

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as exc:
        if exc.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            return "starts with no country calling code that there is"
        return f"has {sum(map(str.isdigit, text))} digits"
    national = phonenumbers.national_significant_number(number)
    plan = plan_by_code(cast("int", number.country_code))
    return _Reading(f"{plan.code}{national}", plan, *plan.find(national), number)


def _valid(reading: _Reading | str) -> _Reading | None:
    if isinstance(reading, str) or reading.kind is None or not 7 <= len(reading.digits) <= 15:
        return None
    return reading


def _valid_abroad(digits: str) -> _Reading | None:
    plan = plan_of(digits)
    if plan is None:
        return None
    national = digits[len(plan.code) :]
    if plan.keeps(national) and plan.find(national)[1] is None:
        return None  # as mostly: to be parsed would take 15 µs more
    return _valid(_parsed(f"+{digits}", None))


def _doubt(reading: _Reading, body: str) -> str | None:
    """Say what is wrong with a number that is possible and not valid, if a part of it would be valid."""
    national = reading.digits[len(reading.plan.code) :]
    if national.startswith("0") and reading.plan.find(national.lstrip("0"))[1] is not None:
        return "holds a national trunk 0, which is not dialled from abroad"
    *head, last = re.split(r"[ ./()-]+", body.rstrip(" ./()-"))
    if head and last and reading.plan.find(national.removesuffix(last))[1] is not None:
        return "holds more digits after a valid number, such as an extension, which gets no SMS"
    return None


@lru_cache(maxsize=512)  # regions and choices of lines, as far as an application has them
def number_reader(region: str | None, line_types: LineTypes) -> NumberReader:
    return NumberReader(region, line_types)


def checked_region(
    region: object, error: type[InvalidRequest | InvalidConfiguration] = InvalidConfiguration
) -> str | None:
    """Return a region in upper case, or raise the error that is given."""
    if region is None:
        return None
    if (problem := region_problem(region)) is not None:
        raise error("region", problem, REGION_EXPECTED)
    return cast("str", region).upper()


def checked_line_types(
    line_types: object, error: type[InvalidRequest | InvalidConfiguration] = InvalidConfiguration
) -> LineTypes:
    if line_types in ("sms", "any"):
        return line_types
    problem = "is neither" if isinstance(line_types, str) else f"is {kind_of(line_types)}"
    raise error("line_types", problem, _LINE_TYPES_EXPECTED)


def checked_before(digits: str, line_types: LineTypes) -> str:
    """Mark digits as a number that was checked where they come from, if that can be true."""
    if _ON_THE_WIRE.fullmatch(digits) is None:
        return digits
    return (MsisdnOfAnyLine if line_types == "any" else Msisdn)(digits)


read_number: Final = without_arguments(NumberReader.read)
"""Read a number with a reader; an error shows no number in its frames."""


@without_arguments
def parse_msisdn(text: str, *, region: str | None = None, line_types: LineTypes = "sms") -> str:
    """Read a phone number as people type it, and return the digits that go on the wire.

    Spaces, dots, dashes, slashes, parentheses and invisible characters are removed, digits of any script become ASCII,
    and what spreadsheets add (`="…"`, a leading apostrophe, a trailing `.0`) is dropped. A number with `+` or `00`
    has to be possible for its country, any other one valid. The rules are those of Google's libphonenumber.

    Args:
        text: The number, such as `"+34 666 666 111"`.
        region: The region whose national numbers are understood as well, as an ISO 3166 code such as `"ES"`.
        line_types: `"sms"` refuses fixed lines and other lines that receive no SMS; `"any"` accepts them.

    Returns:
        The digits. `PinRequest` does not check them again, unless they were stored and read in between.

    Raises:
        InvalidRequest: That is no number, or not certainly one; `.problem` says why, without the number.
    """
    lines = checked_line_types(line_types, InvalidRequest)
    return number_reader(checked_region(region, InvalidRequest), lines).read(text)
