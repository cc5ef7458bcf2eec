"""National numbers on the command line: `--region`, `GATEWAY360_REGION`, `--line-types`, and what a dry run says."""

import json

import pytest
from support.cli_helpers import one_line

from gateway360_async.cli._app import app

NUMBER = "34666666111"


def request_for(cli, number, *options, **how):
    return cli.invoke(app, ["request", number, "--sender", "X", *options], **how)


def test_request_with_region_is_sent_to_the_national_number(cli, sandbox):
    assert request_for(cli, "666 666 111", "--region", "ES").exit_code == 0
    assert request_for(cli, "06 12 34 56 78", env={"GATEWAY360_REGION": "fr"}).exit_code == 0
    assert [message.msisdn for message in sandbox.messages] == [NUMBER, "33612345678"]


@pytest.mark.parametrize(
    ("number", "options", "said"),
    [
        ("666666111", [], "or a region for national numbers (--region ES)"),
        ("666666111", ["--region", "UK"], "region: is 'UK', and there is no such region: did you mean 'GB'?"),
        ("912345678", ["--region", "ES"], "is a fixed line of ES, which receives no SMS"),
    ],
)
def test_request_for_wrong_number_is_usage(cli, sandbox, number, options, said):
    result = request_for(cli, number, *options)
    assert result.exit_code == 2
    assert said in one_line(result.stderr)
    assert not sandbox.requests


def test_line_types_any_sends_to_fixed_lines(cli, sandbox):
    options = ["--region", "ES", "--line-types", "any"]
    assert request_for(cli, "912345678", *options).exit_code == 0
    pin = sandbox.last_pin("34912345678")
    assert cli.invoke(app, ["verify", "912 345 678", *options], input=pin).exit_code == 0


def test_verify_with_region_is_about_the_national_number(cli, sandbox):
    request_for(cli, NUMBER)
    pin = sandbox.last_pin(NUMBER)
    assert cli.invoke(app, ["verify", "666 666 111"], input=pin).exit_code == 2
    assert cli.invoke(app, ["verify", "666 666 111", "--region", "ES"], input=pin).exit_code == 0


def test_batch_with_region_reads_national_numbers(run_batch, sandbox):
    national = ["666 666 111", "34666666112.0", '="666666113"', "'+34 666 666 114", "2026-01-15", "912345678"]
    text = "\n".join(["msisdn", *national])
    assert run_batch(text, "--region", "ES").exit_code == 1
    numbers = sorted(message.msisdn for message in sandbox.messages)
    assert numbers == [f"3466666611{last}" for last in range(1, 5)]
    assert run_batch(text, "--region", "ES", "--line-types", "any").exit_code == 1
    assert [message.msisdn for message in sandbox.messages].count("34912345678") == 1


def test_dry_run_counts_numbers_with_two_readings(run_batch):
    text = "436 993 8077\n347 123 4567\n+4369938078\n4369938077\n"
    result = run_batch(text, "--dry-run", "--region", "it")
    assert "1 of them could be international numbers, and are read as of IT" in result.stdout
    assert "3  requests" in result.stdout
    result = run_batch(text, "--dry-run", "--region", "IT", "--json")
    assert json.loads(result.stderr)["two_readings"] == 1
    assert "could be international" not in run_batch(text, "--dry-run").stdout
