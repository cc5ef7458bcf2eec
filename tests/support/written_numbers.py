"""Valid mobiles of a country, and the ways in which people there write them."""

import random
from collections.abc import Iterator

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from gateway360_async import InvalidRequest, parse_msisdn

COUNTRIES = ("ES", "PT", "FR", "IT", "DE", "GB", "US", "MX", "CO", "MA")
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def mobiles(region: str, count: int) -> Iterator[str]:
    """Give random valid mobiles of a region, as digits without the calling code."""
    chance = random.Random(region)  # noqa: S311  # the same ones every time
    code = phonenumbers.country_code_for_region(region)
    example = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    assert example is not None
    length = len(phonenumbers.national_significant_number(example))
    while count:
        national = "".join(chance.choices("0123456789", k=length))
        if national.startswith("0"):
            continue
        number = phonenumbers.PhoneNumber(country_code=code, national_number=int(national))
        if (
            phonenumbers.number_type(number) in _MOBILE
            and phonenumbers.region_code_for_number(number) == region
        ):
            count -= 1
            yield national


def written(region: str, national: str) -> set[str]:
    """Give the ways in which people of a region write a number."""
    code = phonenumbers.country_code_for_region(region)
    number = phonenumbers.PhoneNumber(country_code=code, national_number=int(national))
    usual = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    bare = usual.replace("(", "").replace(")", "")
    ways = {usual, bare, "".join(filter(str.isdigit, usual))}
    for separator in ("-", ".", "\u00a0", "\u2011"):
        ways.add(bare.replace(" ", separator).replace("-", separator))
    first, *rest = bare.replace("-", " ").split()
    ways.add(f"{first}/{''.join(rest)}")
    ways.add(f"({first}) {' '.join(rest)}")
    return ways


def reading(region: str, count: int) -> tuple[int, int, int, int, int]:
    """Count ways and right readings with the region; ways, those refused and those taken for another number without."""
    ways = right = refused = other = 0
    code = phonenumbers.country_code_for_region(region)
    for national in mobiles(region, count):
        for text in written(region, national):
            ways += 1
            right += parse_msisdn(text, region=region) == f"{code}{national}"
            try:
                parse_msisdn(text)
            except InvalidRequest:
                refused += 1
            else:
                other += 1
    return count, ways, right, refused, other
