"""National numbers on the command line: `--region`, `GATEWAY360_REGION`, `--line-types`, and what a dry run says."""

import json

import pytest
from support.cli_helpers import one_line

from gateway360_async.cli._app import app
from gateway360_async.cli._options import BatchOptions
from gateway360_async.cli._rows import Rows

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


def test_batch_with_region_reads_what_people_and_spreadsheets_write(cli, sandbox, tmp_path):
    file = tmp_path / "numbers.csv"
    rows = [
        "msisdn",
        "666 666 111",
        "34666666112.0",
        '="666666113"',
        "'+34 666 666 114",
        "2026-01-15",
        "912345678",
    ]
    file.write_text("\n".join(rows) + "\n")
    command = ["batch", str(file), "--sender", "X", "--region", "ES"]
    assert cli.invoke(app, command).exit_code == 1
    assert sorted(message.msisdn for message in sandbox.messages) == [
        f"3466666611{last}" for last in range(1, 5)
    ]
    assert cli.invoke(app, [*command, "--line-types", "any"]).exit_code == 1
    assert len([message for message in sandbox.messages if message.msisdn == "34912345678"]) == 1


def test_dry_run_counts_numbers_with_two_readings(cli, tmp_path):
    file = tmp_path / "numbers"
    file.write_text("436 993 8077\n347 123 4567\n+4369938078\n4369938077\n")
    command = ["batch", str(file), "--sender", "X", "--dry-run"]
    result = cli.invoke(app, [*command, "--region", "it"])
    assert "1 of them could be international numbers, and are read as of IT" in result.stdout
    assert "3  requests" in result.stdout
    assert json.loads(cli.invoke(app, [*command, "--region", "IT", "--json"]).stderr)["two_readings"] == 1
    assert "could be international" not in cli.invoke(app, command).stdout


def test_command_that_goes_on_says_region_and_lines():
    options = BatchOptions("numbers.txt", region="ES", line_types="any")
    assert options.command() == "gateway360 batch numbers.txt --region ES --line-types any"


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("hlr_lookup", "1.0", True),
        ("hlr_lookup", "0.00", False),
        ("pin_params.length", "6.0", 6),
        ("pin_params.max_tries", "0.0", 0),
    ],
)
def test_cell_of_whole_number_loses_a_floats_tail(tmp_path, column, cell, value):
    file = tmp_path / "rows.csv"
    file.write_text(f"msisdn,{column}\n{NUMBER},{cell}\n")
    with file.open(newline="") as opened:
        (row,) = Rows(opened, "rows.csv")
    top, _, name = column.partition(".")
    assert (row[top][name] if name else row[column]) == value
