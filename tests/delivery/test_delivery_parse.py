"""Reports as the gateway posts them: read, refused, and written again."""

import copy
import json
import pickle
import tracemalloc
from datetime import datetime

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cases import each
from support.leaks import carried, reported, shown

from gateway360_async import Gateway360Error
from gateway360_async.delivery import (
    MAX_BODY_BYTES,
    MAX_REPORTS,
    DeliveryReport,
    DeliveryStatus,
    InvalidReports,
    ReportProblem,
    dump_delivery_reports,
    parse_delivery_reports,
)

SMS_ID = "b3c5d6e7f8091a2b3c4d5e6f70819203"
NUMBER = "34666666111"
PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)


def posted(**fields):
    """Make a report as it is published, with other values where they are named; `...`: without the field."""
    report = {
        "sms_id": SMS_ID,
        "from": "GOOD PIZZA",
        "to": NUMBER,
        "custom": "order 7",
        "sms_date": "2026-03-29 02:30:00",
        "dlr_date": "2026-03-29 02:30:09",
        "status": "DELIVRD",
    }
    report |= {name.replace("from_", "from"): value for name, value in fields.items()}
    return {name: value for name, value in report.items() if value is not ...}


def body(*reports):
    return json.dumps(reports).encode()


def problems(raw):
    with pytest.raises(InvalidReports) as caught:
        parse_delivery_reports(raw)
    assert NUMBER not in str(caught.value)
    assert NUMBER not in "".join(reported(caught.value))
    return caught.value.problems


def problem(raw):
    (only,) = problems(raw)
    return only


# --- what is published


def test_published_report_is_read():
    (report,) = parse_delivery_reports(body(posted()))
    assert report == DeliveryReport(
        sms_id=SMS_ID,
        msisdn=NUMBER,
        status=DeliveryStatus.DELIVRD,
        sender="GOOD PIZZA",
        custom="order 7",
        sms_date=datetime(2026, 3, 29, 2, 30),
        dlr_date=datetime(2026, 3, 29, 2, 30, 9),
    )
    assert isinstance(report.status, DeliveryStatus)
    assert report.sms_date.tzinfo is None
    assert report.report_id is None


def test_text_is_read_as_its_bytes_are():
    raw = json.dumps([posted(custom="señor")], ensure_ascii=False)
    assert parse_delivery_reports(raw) == parse_delivery_reports(raw.encode())
    assert parse_delivery_reports(raw)[0].custom == "señor"


def test_reports_keep_their_order_and_number():
    ids = [f"{index:032x}" for index in range(MAX_REPORTS)]
    reports = parse_delivery_reports(body(*(posted(sms_id=sms_id) for sms_id in ids)))
    assert [report.sms_id for report in reports] == ids


def test_empty_array_has_no_reports():
    assert parse_delivery_reports(b" [] ") == []


@each("nothing", [..., None, ""])
@each(
    ("name", "attribute"),
    [("from", "sender"), ("custom", "custom"), ("sms_date", "sms_date"), ("dlr_date", "dlr_date")],
)
def test_optional_field_may_be_missing(name, attribute, nothing):
    (report,) = parse_delivery_reports(body(posted(**{name: nothing})))
    assert getattr(report, attribute) is None


def test_unknown_field_is_ignored():
    (report,) = parse_delivery_reports(body(posted(price={"eur": [0.05]}, msisdn="1", report_id="x")))
    assert report == parse_delivery_reports(body(posted()))[0]


@each("number", [f"+{NUMBER}", f"00{NUMBER}"])
def test_number_comes_as_digits(number):
    assert parse_delivery_reports(body(posted(to=number)))[0].msisdn == NUMBER


@each(
    ("status", "delivered", "final"),
    [
        ("DELIVRD", True, True),
        ("ACCEPTD", False, False),
        ("EXPIRED", False, True),
        ("DELETED", False, True),
        ("UNDELIV", False, True),
        ("REJECTD", False, True),
        ("UNKNOWN", False, False),
        ("BRAND_NEW", False, False),
        ("delivrd", False, False),
    ],
)
def test_status_says_delivered_and_final(status, delivered, final):
    (report,) = parse_delivery_reports(body(posted(status=status)))
    assert report.status == status
    assert isinstance(report.status, DeliveryStatus) is (status in DeliveryStatus.__members__)
    assert (report.delivered, report.final) == (delivered, final)


# --- as it varies in the field


@each(
    ("fields", "attribute", "value"),
    [
        ({"sms_id": 7}, "sms_id", "7"),
        ({"to": 34666666111}, "msisdn", NUMBER),
        ({"to": 34666666111.0}, "msisdn", NUMBER),
        ({"to": f" {NUMBER}\n"}, "msisdn", NUMBER),
        ({"status": 1}, "status", "1"),
        ({"from_": 1234}, "sender", "1234"),
        ({"from_": 1.5}, "sender", "1.5"),
        ({"from_": True}, "sender", None),
        ({"from_": ["X"]}, "sender", None),
        ({"custom": 12345}, "custom", "12345"),
        ({"custom": []}, "custom", None),
        ({"custom": {"a": 1}}, "custom", None),
        ({"sms_date": "0000-00-00 00:00:00"}, "sms_date", None),
        ({"dlr_date": "0000-00-00 00:00:00"}, "dlr_date", None),
        ({"dlr_date": "2026-02-30 02:30:00"}, "dlr_date", None),
        ({"dlr_date": "yesterday"}, "dlr_date", None),
        ({"dlr_date": 1774751400}, "dlr_date", None),
        ({"dlr_date": "2" * 5000}, "dlr_date", None),
        ({"dlr_date": "2026-03-29T02:30:00"}, "dlr_date", datetime(2026, 3, 29, 2, 30)),
        ({"dlr_date": "2026-03-29T02:30:00.123456"}, "dlr_date", datetime(2026, 3, 29, 2, 30)),
        ({"dlr_date": "2026-03-29T02:30:00Z"}, "dlr_date", datetime(2026, 3, 29, 2, 30)),
        ({"dlr_date": "2026-03-29T02:30:00+02:00"}, "dlr_date", datetime(2026, 3, 29, 0, 30)),
        ({"dlr_date": "0001-01-01T00:00:00+02:00"}, "dlr_date", None),
        ({"dlr_date": " 2026-03-29 02:30:00 "}, "dlr_date", datetime(2026, 3, 29, 2, 30)),
    ],
)
def test_report_that_varies_keeps_its_effect(fields, attribute, value):
    (report,) = parse_delivery_reports(body(posted(**fields)))
    assert getattr(report, attribute) == value
    assert parse_delivery_reports(dump_delivery_reports([report])) == [report]


def test_report_by_itself_is_a_body():
    assert parse_delivery_reports(json.dumps(posted())) == parse_delivery_reports(body(posted()))
    assert problem(b"{}").field == "sms_id"


def test_reports_with_and_without_a_zone_compare():
    zoned, plain = parse_delivery_reports(
        body(posted(dlr_date="2026-03-29T02:30:00+02:00"), posted(dlr_date="2026-03-29 02:30:00"))
    )
    assert plain.supersedes(zoned)
    assert not zoned.supersedes(plain)


# --- what is malformed


@each(
    ("fields", "field", "text"),
    [
        ({"sms_id": ...}, "sms_id", "is missing or empty"),
        ({"sms_id": None}, "sms_id", "is missing or empty"),
        ({"sms_id": ""}, "sms_id", "is missing or empty"),
        ({"sms_id": False}, "sms_id", "is a boolean"),
        ({"sms_id": [SMS_ID]}, "sms_id", "is an array"),
        ({"sms_id": "x" * 129}, "sms_id", "has 129 characters"),
        ({"sms_id": "a\x1b[2J"}, "sms_id", "holds a character that cannot be printed"),
        ({"to": ...}, "to", "is missing or empty"),
        ({"to": {}}, "to", "is an object"),
        ({"to": 12}, "to", "is not an international number"),
        ({"to": 3466666.5}, "to", "is not an international number"),
        ({"to": 10**40}, "to", "is not an international number"),
        ({"to": "GOOD PIZZA"}, "to", "is not an international number"),
        ({"to": "34 666 666 111"}, "to", "is not an international number"),
        ({"to": "0666666111"}, "to", "is not an international number"),
        ({"to": NUMBER * 2}, "to", "is not an international number"),
        ({"status": ...}, "status", "is missing or empty"),
        ({"status": True}, "status", "is a boolean"),
        ({"status": "x" * 129}, "status", "has 129 characters"),
        ({"status": "A\nB"}, "status", "holds a character that cannot be printed"),
    ],
)
def test_wrong_field_is_named(fields, field, text):
    found = problem(body(posted(**fields)))
    assert (found.index, found.field, found.problem) == (0, field, text)
    assert str(found).startswith(f"report 0, {field}: {text}; expected ")


@each(
    ("item", "text"),
    [
        (None, "is null"),
        (True, "is a boolean"),
        (7, "is a number"),
        (1.5, "is a number"),
        (NUMBER, "is a string"),
        ([], "is an array"),
    ],
)
def test_item_that_is_no_object_is_named(item, text):
    found = problem(body(item))
    assert (found.index, found.field, found.problem) == (0, None, text)
    assert str(found) == f"report 0: {text}; expected a JSON object"


def test_bad_report_does_not_lose_its_neighbours():
    raw = body(posted(sms_id="1"), posted(to="?"), 7, posted(sms_id="4"), posted(status=...))
    with pytest.raises(InvalidReports) as caught:
        parse_delivery_reports(raw)
    assert [report.sms_id for report in caught.value.reports] == ["1", "4"]
    assert [(one.index, one.field) for one in caught.value.problems] == [(1, "to"), (2, None), (4, "status")]


@each(
    ("raw", "text"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b"sms_id=1&to=34666666111", "the body is not JSON"),
        (b"[]x", "the body is not JSON"),
        (b'[{"to":"\xff"}]', "the body is not UTF-8"),
        ("[]".encode("utf-16"), "the body is not UTF-8"),
        (b"\xef\xbb\xbf[]", "the body is not JSON"),
        (b'[{"to":"1","to":"2"}]', "the JSON has a key twice"),
        (b"[NaN]", "the JSON holds NaN"),
        (b"[" * 65 + b"]" * 65, "the JSON is nested too deeply"),
        (b"[" + b"1" * 4301 + b"]", "the JSON holds an integer with too many digits"),
        (b" " * MAX_BODY_BYTES + b"[]", f"the body is longer than {MAX_BODY_BYTES} bytes"),
        ('["\ud800"]', "the body is not Unicode"),
        (body(*[{}] * (MAX_REPORTS + 1)), "it holds 1001 reports"),
        (b"null", "the JSON is null"),
        (b'"34666666111"', "the JSON is a string"),
        (b"34666666111", "the JSON is a number"),
    ],
)
def test_unreadable_body_is_refused(raw, text):
    found = problem(raw)
    assert (found.index, found.field, found.problem) == (None, None, text)
    assert str(found) == f"the body: {text}; expected a JSON array of at most 1000 reports"


def test_lone_surrogate_becomes_a_question_mark():
    raw = body(posted()).replace(b"order 7", b"\\ud800").replace(b"GOOD PIZZA", b"\\udfff")
    (report,) = parse_delivery_reports(raw)
    assert (report.custom, report.sender) == ("?", "?")


# --- what is raised


def test_error_reads_well_and_is_short():
    wrong = [ReportProblem(index, "to", "is a number", "a string") for index in range(5)]
    assert str(InvalidReports([], wrong[:1])) == "report 0, to: is a number; expected a string"
    assert str(InvalidReports([], wrong)).endswith("report 2, to: is a number; expected a string; and 2 more")
    assert str(InvalidReports([], wrong)).count(";") == 6


def test_error_is_a_value_error_of_this_library():
    assert issubclass(InvalidReports, Gateway360Error)
    assert issubclass(InvalidReports, ValueError)


@each("carry", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_error_survives_pickling_and_copying(carry):
    with pytest.raises(InvalidReports) as caught:
        parse_delivery_reports(body(posted(), posted(to=True)))
    revived = carry(caught.value)
    assert type(revived) is InvalidReports
    assert (str(revived), vars(revived)) == (str(caught.value), vars(caught.value))


def test_numbers_are_masked_in_reports_and_errors():
    with pytest.raises(InvalidReports) as caught:
        parse_delivery_reports(body(posted(), posted(to=NUMBER + "x"), posted(custom=NUMBER, sms_id=[])))
    error = caught.value
    assert not any(NUMBER in text for text in shown(error) if text)
    assert not any(NUMBER in text for text in reported(error))
    for report in error.reports:
        assert not any(NUMBER in text for text in shown(report))
        assert "34*****111" in repr(report)
    assert any("order 7" in text for text in carried(error.reports[0]))  # pickled it is whole


# --- which one says more


def report(status, dlr_date=None, **fields):
    return DeliveryReport(
        sms_id=SMS_ID,
        msisdn=NUMBER,
        status=status,
        dlr_date=dlr_date and datetime(2026, 1, 1, 12, 0, dlr_date),
        **fields,
    )


@each(
    ("later", "earlier", "supersedes"),
    [
        (report("DELIVRD"), report("ACCEPTD"), True),
        (report("ACCEPTD"), report("DELIVRD"), False),
        (report("ACCEPTD", 9), report("DELIVRD", 1), False),
        (report("DELIVRD", 1), report("ACCEPTD", 9), True),
        (report("UNDELIV", 9), report("DELIVRD", 1), True),
        (report("UNDELIV", 1), report("DELIVRD", 9), False),
        (report("UNDELIV", 5), report("DELIVRD", 5), True),
        (report("UNDELIV", 5), report("DELIVRD"), True),
        (report("UNDELIV"), report("DELIVRD", 5), True),
        (report("ACCEPTD"), report("BRAND_NEW"), True),
        (report("UNKNOWN", 1), report("ACCEPTD", 2), False),
    ],
)
def test_supersedes_says_which_report_says_more(later, earlier, supersedes):
    assert later.supersedes(earlier) is supersedes


# --- properties

DATES = st.none() | st.datetimes().map(lambda value: value.replace(microsecond=0, fold=0))
PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128).filter(
    str.isprintable
)
REPORTS = st.builds(
    DeliveryReport,
    sms_id=PRINTABLE,
    msisdn=st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True),
    status=st.sampled_from(list(DeliveryStatus))
    | PRINTABLE.filter(lambda text: text not in DeliveryStatus.__members__),
    sender=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    custom=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    sms_date=DATES,
    dlr_date=DATES,
)


@PROPERTY
@given(st.lists(REPORTS, max_size=5))
@example([report("DELIVRD", sms_date=datetime(1, 1, 1))])
def test_dumped_reports_are_parsed_back(reports):
    raw = dump_delivery_reports(reports)
    assert parse_delivery_reports(raw) == reports
    assert [type(one.status) for one in parse_delivery_reports(raw)] == [type(one.status) for one in reports]


def test_dump_leaves_out_the_report_id():
    one = report("DELIVRD", report_id="ab" * 16)
    assert parse_delivery_reports(dump_delivery_reports([one])) == [attrs.evolve(one, report_id=None)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(posted())), inner),
    max_leaves=10,
)
FIELDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(posted(), JSON | st.sampled_from(list(posted().values())))
)


@PROPERTY
@given(
    st.binary(max_size=200)
    | st.text(max_size=200)
    | st.lists(FIELDS | JSON, max_size=4).map(json.dumps)
    | st.tuples(st.lists(FIELDS, min_size=1, max_size=3), st.integers(), st.binary(max_size=3)).map(
        lambda drawn: (raw := json.dumps(drawn[0]).encode())[: drawn[1] % len(raw)] + drawn[2]
    )
)
def test_any_body_is_read_or_refused(raw):
    try:
        reports = parse_delivery_reports(raw)
    except InvalidReports as exc:
        assert exc.problems
        reports = exc.reports
        assert all(str(one) for one in exc.problems)
    for one in reports:
        assert isinstance(one, DeliveryReport)
        assert one.msisdn.isdigit()
        assert parse_delivery_reports(dump_delivery_reports([one])) == [one]


PIECES = (
    b"[",
    b'"',
    b"\\",
    b'\\"',
    b'"[',
    b"[{",
    b'{"a":',
    b"[[],",
    b"1",
    b"-",
    b"1e",
    b"\xc3\xa9",
    b"[1,",
    b'"\\u0041',
    b" ",
)


@each("piece", PIECES)
@pytest.mark.parametrize("head", [b"", b"[", b'["', b'[{"sms_id":"'])
def test_worst_body_ends_and_takes_memory_in_proportion(head, piece):
    """By pytest's own bound on a test, which a quadratic scan of a mebibyte would pass by hours."""
    raw = (head + piece * (MAX_BODY_BYTES // len(piece)))[:MAX_BODY_BYTES]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidReports):
            parse_delivery_reports(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * MAX_BODY_BYTES
