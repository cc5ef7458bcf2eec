"""National numbering plans: libphonenumber's metadata, compiled for the calling codes that are met.

`phonenumbers` takes 15 to 40 µs to say what a number is, and a batch has less time than that. The tests compare every
plan with it, over all calling codes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberDesc

REGION_EXPECTED: Final = "an ISO 3166 code of two letters, such as 'ES', or None for no region"
NO_REGION: Final = "001"
"""The region, in libphonenumber, of a calling code that belongs to none, such as +800: the world."""
_MEANT: Final = {"UK": "GB", "EL": "GR"}
"""Codes that people write where ISO 3166 has another."""
_NEVER: Final = "(?!)"
"""A pattern that matches nothing."""

# In the order in which libphonenumber looks for them. A number that fits the patterns of both mobiles and fixed lines can
# be either, and receive an SMS: it counts as a mobile here.
_KINDS: Final = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "mobile",
    "fixed_line",
)


class _Region:
    """The numbers of one region, or of one calling code that belongs to none."""

    __slots__ = ("_by_length", "_metadata", "leading", "name")

    def __init__(self, metadata: PhoneMetadata) -> None:
        self.name = metadata.id
        self.leading = None if metadata.leading_digits is None else re.compile(metadata.leading_digits)
        self._metadata = metadata
        self._by_length: dict[int, re.Pattern[str]] = {}

    def kind(self, national: str) -> str | None:
        """Return the kind of line of a national number; `None`: it is not valid here."""
        length = len(national)
        pattern = self._by_length.get(length)
        if pattern is None:
            pattern = self._by_length[length] = re.compile(self.pattern(length))
        match = pattern.fullmatch(national)
        return None if match is None else match.lastgroup

    def pattern(self, length: int) -> str:
        metadata = self._metadata
        general = _pattern_of(metadata.general_desc, length)
        same = metadata.same_mobile_and_fixed_line_pattern
        kinds = {kind: "fixed_line" if same and kind == "mobile" else kind for kind in _KINDS}
        groups = {kind: _pattern_of(getattr(metadata, of), length) for kind, of in kinds.items()}
        named = "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in groups.items() if pattern)
        return f"(?=(?:{general})$)(?:{named})" if general and named else _NEVER


def _pattern_of(described: PhoneNumberDesc | None, length: int) -> str | None:
    if described is None or (described.possible_length and length not in described.possible_length):
        return None
    return described.national_number_pattern


class Plan:
    """The numbers of one calling code."""

    __slots__ = ("_lengths", "_names", "_prefix", "_regions", "code")

    def __init__(self, code: int) -> None:
        from phonenumbers import COUNTRY_CODE_TO_REGION_CODE  # noqa: PLC0415  # see the package's text

        self.code = str(code)
        self._names = COUNTRY_CODE_TO_REGION_CODE[code]
        # Made as they are looked at: +1 has 25 regions, and nearly all of its numbers are of the first.
        self._regions = [_Region(main := _metadata(code, self._names[0]))]
        self._lengths = frozenset(() if main.general_desc is None else main.general_desc.possible_length)
        self._prefix = re.compile(main.national_prefix_for_parsing or _NEVER)

    def find(self, national: str) -> tuple[str | None, str | None]:
        """Return the region of a national number, as far as it can be told, and its kind of line if it is valid."""
        regions = self._regions
        if len(self._names) == 1:
            return regions[0].name, regions[0].kind(national)
        for index, name in enumerate(self._names):
            if index == len(regions):
                regions.append(_Region(_metadata(int(self.code), name)))
            region = regions[index]
            if region.leading is not None:
                if region.leading.match(national):
                    return region.name, region.kind(national)
            elif (kind := region.kind(national)) is not None:
                return region.name, kind
        return None, None

    def kind_of_ordinary(self, digits: str) -> str | None:
        """Return the kind of line of an international number that certainly is valid, and has nothing to be removed."""
        national = digits[len(self.code) :]
        if len(national) not in self._lengths or not self.keeps(national):
            return None
        return self.find(national)[1]

    def ordinary(self, length: int) -> re.Pattern[str]:
        """Return the pattern of most, not all, international numbers of a length; its group is their kind of line."""
        first, national = self._regions[0], length - len(self.code)
        if national not in self._lengths or first.leading is not None:
            return re.compile(_NEVER)
        return re.compile(f"{self.code}(?!{self._prefix.pattern}){first.pattern(national)}", re.ASCII)

    def keeps(self, national: str) -> bool:
        return not strips(self._prefix, national)

    def length_problem(self, number: PhoneNumber) -> str | None:
        from phonenumbers import ValidationResult, is_possible_number_with_reason  # noqa: PLC0415

        reason = is_possible_number_with_reason(number)
        if reason == ValidationResult.IS_POSSIBLE:
            return None
        if reason == ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            return f"lacks its area code after +{self.code}"
        many = {ValidationResult.TOO_SHORT: "too few", ValidationResult.TOO_LONG: "too many"}
        return f"has {many.get(reason, 'too few or too many')} digits after +{self.code}"


class Home:
    """A region whose national numbers are understood."""

    __slots__ = ("_exit", "_plan", "_prefix", "region")

    def __init__(self, region: str) -> None:
        from phonenumbers import country_code_for_region  # noqa: PLC0415  # see the package's text

        self.region = region
        code = country_code_for_region(region)
        metadata = _metadata(code, region)
        self._plan = plan_by_code(code)
        self._prefix = re.compile(metadata.national_prefix_for_parsing or _NEVER)
        self._exit = re.compile(metadata.international_prefix or _NEVER)

    def leaves(self, digits: str, but_for: Collection[str]) -> bool:
        """Whether digits without a plus certainly are no national number, nor one that is dialled to go abroad.

        Numbers that begin with this region's calling code are no lines of the kinds `but_for`.
        """
        if strips(self._exit, digits) or strips(self._prefix, digits):
            return False
        code = self._plan.code
        own = digits.startswith(code)
        if own and strips(self._prefix, digits[len(code) :]):
            return False
        kind = self._plan.find(digits)[1]
        return kind is None or (own and kind in but_for)

    def lacks_trunk_prefix(self, number: PhoneNumber, digits: str) -> bool:
        """Whether a national number is written without the prefix that numbers are written with here."""
        import phonenumbers  # noqa: PLC0415  # see the package's text

        written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        significant = phonenumbers.national_significant_number(number)
        return digits == significant != phonenumbers.normalize_digits_only(written)


def strips(prefix: re.Pattern[str], digits: str) -> bool:
    """Whether a prefix may be removed from digits. Some are optional in their own pattern, and match nothing."""
    match = prefix.match(digits)
    return match is not None and bool(match.end() or match.lastindex)


def _metadata(code: int, region: str) -> PhoneMetadata:
    from phonenumbers import PhoneMetadata  # noqa: PLC0415  # see the package's text

    # Of every code and region that it lists, it has them.
    return cast("PhoneMetadata", PhoneMetadata.metadata_for_region_or_calling_code(code, region))


home_of: Final = cache(Home)

_plans: Final[dict[str, Plan]] = {}


def plan_by_code(code: int) -> Plan:
    plan = _plans.get(str(code))
    if plan is None:
        plan = _plans[str(code)] = Plan(code)
    return plan


def plan_of(digits: str) -> Plan | None:
    """Return the plan of an international number; `None`: it begins with no calling code that there is."""
    plan = _plans.get(digits[:2]) or _plans.get(digits[:3]) or _plans.get(digits[:1])
    if plan is not None or digits.startswith("0"):
        return plan
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE  # noqa: PLC0415  # see the package's text

    codes = (int(digits[:length]) for length in (1, 2, 3))
    return next((plan_by_code(code) for code in codes if code in COUNTRY_CODE_TO_REGION_CODE), None)


_ordinary: Final[dict[str, dict[int, re.Pattern[str]]]] = {}


def ordinary_kind(text: str) -> str | None:
    """Return the kind of line of most international numbers that are valid as they stand; `None` says nothing."""
    try:
        pattern = _ordinary[text[:3]][len(text)]
    except KeyError:
        if not 7 <= len(text) <= 15 or not (text.isascii() and text.isdigit()):
            return None
        plan = plan_of(text)
        pattern = re.compile(_NEVER) if plan is None else plan.ordinary(len(text))
        _ordinary.setdefault(text[:3], {})[len(text)] = pattern
    match = pattern.fullmatch(text)
    return None if match is None else match.lastgroup


def calling_code(digits: str) -> str:
    """Return the calling code that an international number begins with; three digits where there is no such code."""
    plan = plan_of(digits)
    return digits[:3] if plan is None else plan.code


def region_of(digits: str) -> str | None:
    """Return the region of an international number, as far as it can be told from its digits."""
    plan = plan_of(digits)
    region = None if plan is None else plan.find(digits[len(plan.code) :])[0]
    return None if region == NO_REGION else region


def region_problem(region: object) -> str | None:
    """Say why a value is no region's code, in upper or lower case; `None`: it is one."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, SUPPORTED_REGIONS  # noqa: PLC0415  # see the package's text

    if not isinstance(region, str):
        return f"is of type {type(region).__name__}"
    code = region.strip().upper()
    if region.upper() in SUPPORTED_REGIONS:
        return None
    meant = code if code in SUPPORTED_REGIONS else _MEANT.get(code)
    calling_code = code.removeprefix("+")
    if calling_code.isascii() and calling_code.isdigit():
        meant = next(iter(COUNTRY_CODE_TO_REGION_CODE.get(int(calling_code), ())), None)
        meant = meant if meant in SUPPORTED_REGIONS else None
    known = f"is {region!r}" if len(region) <= 20 else "is a longer text"
    return f"{known}, and there is no such region" + (f": did you mean {meant!r}?" if meant else "")
