"""The quick way to a number and `phonenumbers` agree, for every calling code and region there is."""

import functools
import random

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType
from support.cases import each

from gateway360_async._numbers._plans import home_of, ordinary_kind, plan_by_code, plan_of, region_of
from gateway360_async._numbers._reader import _NO_SMS, _valid_abroad, number_reader

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
TYPES = [kind for kind in PhoneNumberType.values() if kind != PhoneNumberType.UNKNOWN]
KINDS = {
    PhoneNumberType.FIXED_LINE: "fixed_line",
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "mobile",
    PhoneNumberType.TOLL_FREE: "toll_free",
    PhoneNumberType.PREMIUM_RATE: "premium_rate",
    PhoneNumberType.SHARED_COST: "shared_cost",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.PERSONAL_NUMBER: "personal_number",
    PhoneNumberType.PAGER: "pager",
    PhoneNumberType.UAN: "uan",
    PhoneNumberType.VOICEMAIL: "voicemail",
    PhoneNumberType.UNKNOWN: None,
}


@functools.cache
def examples(code):
    """Give the national numbers that libphonenumber has as examples of a calling code, one a region and type."""
    if code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        return [str(phonenumbers.example_number_for_non_geo_entity(code).national_number)]
    made = {
        phonenumbers.national_significant_number(number)
        for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
        for kind in TYPES
        if (number := phonenumbers.example_number_for_type(region, kind)) is not None
    }
    return sorted(made)


def national_numbers(code):
    """Give examples, numbers around them, and random digits of each length that could be one."""
    chance = random.Random(code)
    known = examples(code)
    for number in known:
        yield number
        for _ in range(6):
            digits = list(number)
            for _ in range(chance.choice((1, 1, 2, 4))):
                digits[chance.randrange(len(digits))] = str(chance.randrange(10))
            yield "".join(digits)
        yield "0" + number
        yield "1" + number
        yield number[1:]
        yield number + "0"
        yield code_and(code, number)
    for length in range(2, 15):
        for _ in range(4):
            yield "".join(chance.choices("0123456789", k=length))


def code_and(code, number):
    return f"{code}{number}"


def as_phonenumbers_has(code, national):
    zeros = len(national) - len(national.lstrip("0"))
    zeros = min(zeros, len(national) - 1)
    return phonenumbers.PhoneNumber(
        country_code=code,
        national_number=int(national),
        italian_leading_zero=True if zeros else None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )


@each("code", CODES)
def test_plan_of_each_calling_code_agrees(code):
    plan = plan_by_code(code)
    for national in national_numbers(code):
        number = as_phonenumbers_has(code, national)
        assert phonenumbers.national_significant_number(number) == national
        region, kind = plan.find(national)
        assert region == phonenumbers.region_code_for_number(number), national
        assert kind == KINDS[phonenumbers.number_type(number)], national
        assert (kind is not None) is phonenumbers.is_valid_number(number), national


def expected_abroad(digits, *, any_line=False):
    """Give what `phonenumbers` makes of international digits, if it is valid, has 7 to 15 digits and receives SMS."""
    try:
        number = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return None
    kind = KINDS[phonenumbers.number_type(number)]
    found = phonenumbers.format_number(number, 0)[1:]
    return found if kind is not None and 7 <= len(found) <= 15 and (any_line or kind not in _NO_SMS) else None


@each("code", CODES)
def test_ordinary_number_of_each_code_is_its_own_reading(code):
    reader = number_reader(None, "sms")
    quick = 0
    for national in national_numbers(code):
        digits = code_and(code, national)
        assert plan_of(digits).code == str(code)
        certain = ordinary_kind(digits)
        assert certain in (None, plan_of(digits).kind_of_ordinary(digits)), digits
        if reader._is_ordinary(digits):
            quick += 1
            assert expected_abroad(digits) == digits
            assert phonenumbers.is_possible_number(phonenumbers.parse(f"+{digits}"))
        abroad = _valid_abroad(digits)
        assert expected_abroad(digits, any_line=True) == (None if abroad is None else abroad.digits)
        region = plan_by_code(code).find(national)[0]
        assert region_of(digits) == (None if region == "001" else region)
    # Of each calling code that has lines for SMS, an example goes the quick way.
    kinds = {plan_by_code(code).find(national)[1] for national in examples(code)}
    assert quick or not kinds - _NO_SMS.keys(), code


@pytest.mark.timeout(180)  # phonenumbers reads tens of thousands of numbers
@each("region", REGIONS)
def test_plain_number_with_each_region_has_one_reading(region):
    home, code = home_of(region), phonenumbers.country_code_for_region(region)
    chance = random.Random(region)
    others = [code_and(other, national) for other in chance.sample(CODES, 10) for national in examples(other)]
    own = [text for national in national_numbers(code) for text in (national, code_and(code, national))]
    for digits in own + others:
        if digits.startswith("0") or not home.leaves(digits, ()):
            continue
        try:
            number = phonenumbers.parse(digits, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            assert phonenumbers.format_number(number, 0) == f"+{digits}"
