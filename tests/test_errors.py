"""The exception tree: what can be caught as what, what each error says, and that all of them pickle."""

import copy
import pickle

from cases import each

import gateway360_async
from gateway360_async import (
    ApiError,
    ClientClosed,
    Disposition,
    ErrorId,
    FailureKind,
    Gateway360Error,
    InvalidConfiguration,
    InvalidRequest,
    MaybeSentError,
    NotSentError,
    RejectedError,
    ResultError,
    StoreError,
    TransportFailure,
    WrongEventLoop,
)

SAMPLES = [
    Gateway360Error("anything"),
    InvalidRequest("pin_params.length", "is too small", "a whole number from 4 to 16"),
    InvalidConfiguration("deadline", "is 0", "a finite number of seconds above 0"),
    ClientClosed(),
    ClientClosed("closed by somebody else"),
    StoreError("refuses (OOM)", "one that takes what it is told"),
    StoreError("cannot be asked (ConnectionError)", "one that is up", passing=True),
    WrongEventLoop("the client was made in another event loop"),
    ResultError(ApiError(ErrorId.BAD_PARAMS, "no", 400)),
    RejectedError(ApiError("BRAND_NEW", None, 503, attempts=2, elapsed=1.5, retry_after=3.0)),
    NotSentError(TransportFailure(FailureKind.CONNECT, Disposition.NOT_SENT, detail="refused")),
    MaybeSentError(TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer")),
]
PUBLIC = {
    value
    for name in gateway360_async.__all__
    if isinstance(value := getattr(gateway360_async, name), type) and issubclass(value, Gateway360Error)
}


def sample_id(error):
    return type(error).__name__


def test_the_samples_below_cover_every_public_exception():
    assert {type(sample) for sample in SAMPLES} == PUBLIC


@each(
    ("error", "builtin"),
    [
        (InvalidRequest, ValueError),
        (InvalidConfiguration, ValueError),
        (ClientClosed, RuntimeError),
        (WrongEventLoop, RuntimeError),
    ],
)
def test_an_error_is_also_the_builtin_that_people_expect(error, builtin):
    assert issubclass(error, builtin)


@each("error", [RejectedError, NotSentError, MaybeSentError])
def test_what_unwrap_raises_is_a_result_error(error):
    assert issubclass(error, ResultError)


@each("error", sorted(PUBLIC, key=lambda cls: cls.__name__))
def test_every_error_has_the_one_root(error):
    assert issubclass(error, Gateway360Error)
    assert issubclass(error, Exception)


@each(
    ("one", "other"),
    [
        (InvalidRequest, InvalidConfiguration),
        (ClientClosed, WrongEventLoop),
        (RejectedError, NotSentError),
        (NotSentError, MaybeSentError),
    ],
)
def test_errors_that_mean_different_things_do_not_catch_each_other(one, other):
    assert not issubclass(one, other)
    assert not issubclass(other, one)


@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each("error", SAMPLES, ids=sample_id)
def test_an_error_survives_pickling(error, protocol):
    revived = pickle.loads(pickle.dumps(error, protocol))
    assert type(revived) is type(error)
    assert revived.args == error.args
    assert str(revived) == str(error)
    assert vars(revived) == vars(error)
    if isinstance(error, ResultError):
        assert revived.result == error.result


@each("copied", [copy.copy, copy.deepcopy])
@each("error", SAMPLES, ids=sample_id)
def test_an_error_survives_copying(error, copied):
    assert str(copied(error)) == str(error)
    assert vars(copied(error)) == vars(error)


def test_an_invalid_request_carries_its_data_and_says_what_is_right():
    error = InvalidRequest("msisdn", "has 6 digits", "7 to 15 digits")
    assert (error.field, error.problem, error.expected) == ("msisdn", "has 6 digits", "7 to 15 digits")
    assert str(error) == "msisdn: has 6 digits; expected 7 to 15 digits"


def test_an_invalid_configuration_carries_its_data_and_says_what_is_right():
    error = InvalidConfiguration("concurrency", "is 0", "a whole number, 1 or more")
    assert (error.setting, error.problem, error.expected) == (
        "concurrency",
        "is 0",
        "a whole number, 1 or more",
    )
    assert str(error) == "concurrency: is 0; expected a whole number, 1 or more"


def test_a_closed_client_says_that_nothing_was_sent():
    assert "nothing was sent" in str(ClientClosed())


def test_an_error_that_unwrap_raises_reads_like_its_result():
    result = ApiError(ErrorId.INVALID_NUMBER, "HLR query returned error.")
    assert str(RejectedError(result)) == str(result)
