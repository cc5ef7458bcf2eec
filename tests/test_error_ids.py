"""The published ids, whose matter each is, and that the set is open."""

import pytest

from gateway360_async._error_ids import ErrorId, ErrorScope, known_error_id, scope_of

# The table of the gateway's page, once more and by hand.
PUBLISHED = {
    "INVALID_CONTENT_TYPE": "client",
    "JSON_PARSE_ERROR": "client",
    "MISSING_PARAMS": "request",
    "BAD_PARAMS": "request",
    "INVALID_HLR_LOOKUP_PARAM": "request",
    "INVALID_PIN_PARAMS": "request",
    "INVALID_SMS_TEXT": "request",
    "INVALID_SENDER": "request",
    "INVALID_NUMBER": "number",
    "UNAUTHORIZED": "account",
    "NOT_ENOUGH_BALANCE": "account",
    "UNKNOWN_ERROR": "gateway",
}


def test_the_ids_are_those_that_are_published():
    assert {error_id.value for error_id in ErrorId} == set(PUBLISHED)


def test_the_scopes_are_the_five_of_the_design():
    assert {scope.value for scope in ErrorScope} == {"request", "number", "account", "client", "gateway"}


@pytest.mark.parametrize(("value", "scope"), PUBLISHED.items(), ids=PUBLISHED.keys())
def test_a_published_id_is_a_member_that_reads_like_its_value(value, scope):
    error_id = known_error_id(value)
    assert isinstance(error_id, ErrorId)
    assert error_id is ErrorId(value)
    assert error_id.name == value
    assert error_id == value
    assert f"{error_id}" == value
    assert scope_of(error_id) is ErrorScope(scope)


@pytest.mark.parametrize("value", ["", "unauthorized", "UNAUTHORIZED ", "NUMBER_IS_BLACKLISTED", "ErrorId"])
def test_an_unpublished_id_stays_a_plain_string_and_is_the_gateways(value):
    error_id = known_error_id(value)
    assert type(error_id) is str
    assert error_id == value
    assert scope_of(error_id) is ErrorScope.GATEWAY
