"""The exception tree: what can be caught as what, what each error says, and that all of them pickle."""

import copy
import pickle

from support.cases import each

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
BASES = {
    InvalidRequest: {ValueError},
    InvalidConfiguration: {ValueError},
    ClientClosed: {RuntimeError},
    WrongEventLoop: {RuntimeError},
    StoreError: set(),
    ResultError: set(),
    RejectedError: {ResultError},
    NotSentError: {ResultError},
    MaybeSentError: {ResultError},
}


def sample_id(error):
    return type(error).__name__


def test_samples_and_bases_cover_every_public_exception():
    public = {getattr(gateway360_async, name) for name in gateway360_async.__all__}
    errors = {one for one in public if isinstance(one, type) and issubclass(one, Gateway360Error)}
    assert {type(sample) for sample in SAMPLES} == errors == {Gateway360Error, *BASES}


@each(("error", "bases"), BASES.items())
def test_error_is_caught_as_its_bases_and_as_no_other(error, bases):
    for other in {*BASES, ValueError, RuntimeError} - {error}:
        assert issubclass(error, other) is (other in bases), other
    assert issubclass(error, Gateway360Error)


@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each("error", SAMPLES, ids=sample_id)
def test_error_survives_pickling_and_copying(error, protocol):
    revived = pickle.loads(pickle.dumps(error, protocol))
    assert type(revived) is type(error)
    assert revived.args == error.args
    if isinstance(error, ResultError):
        assert revived.result == error.result
    for one in (revived, copy.copy(error), copy.deepcopy(error)):
        assert str(one) == str(error)
        assert vars(one) == vars(error)


def test_error_carries_its_data_and_says_the_right_form():
    request = InvalidRequest("msisdn", "has 6 digits", "7 to 15 digits")
    assert (request.field, request.problem, request.expected) == ("msisdn", "has 6 digits", "7 to 15 digits")
    assert str(request) == "msisdn: has 6 digits; expected 7 to 15 digits"
    setting = InvalidConfiguration("rate", "is 0", "a number")
    assert (setting.setting, setting.problem, setting.expected) == ("rate", "is 0", "a number")
    assert str(setting) == "rate: is 0; expected a number"
    assert "nothing was sent" in str(ClientClosed())
