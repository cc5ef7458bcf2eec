"""A batch's report in Chromium: nothing is cut, and there is a chart where it says something."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from gateway360_async import ApiError, Disposition, FailureKind, Ok, Skipped, SkipReason, TransportFailure
from gateway360_async.cli._audit import Audit
from gateway360_async.cli._batch_options import BatchOptions
from gateway360_async.cli._report import write_page
from gateway360_async.cli._summary import Summary

pytestmark = pytest.mark.asyncio(loop_scope="package")

REACHES = "Math.max(...[...document.querySelectorAll('body *')].map((e) => e.getBoundingClientRect().right))"


def results(number: int):
    chance = random.Random(number)
    for index in range(number):
        elapsed = chance.lognormvariate(-2.5, 0.6)
        yield (
            ApiError("INVALID_HLR_LOOKUP_PARAM", "hlr_lookup " * 9, elapsed=elapsed),
            TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT, detail="no answer", elapsed=5.0),
            Skipped(SkipReason.INVALID, "msisdn: has 2 digits, and a number has 7 to 15"),
            Skipped(SkipReason.ALREADY_COMPLETED, "an earlier run has its result", Ok()),
            Ok(elapsed=elapsed),
        )[min(index % 40, 4) if number > 2 else 4]


@pytest.mark.parametrize("number", [0, 1, 2, 500])
async def test_report_at_any_width_cuts_nothing(bare_page, trouble, shoot, tmp_path, number):
    audit = Audit()
    for index, result in enumerate(results(number)):
        audit.add(result, index / 30, index + 2, f"346{index:08}")
    options = BatchOptions("customers-of-a-rather-long-name-for-a-file.csv", out="results.jsonl", rate="30/s")
    with (tmp_path / "report.html").open("w") as file:
        began = datetime(2026, 11, 23, 13, 7, 22, tzinfo=UTC)
        write_page(file, options, audit, Summary(0, max(number / 30, 0.1)), began)
    page = bare_page

    def logged(message):
        trouble.append(message.text)

    page.on("console", logged)
    await page.goto((tmp_path / "report.html").as_uri())
    assert await page.locator(".chart").count() == (2 if number == 500 else 0)
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate(REACHES) <= width
            await shoot(page, f"report-{number}-{width}-{scheme}.png", full_page=True)
    page.remove_listener("console", logged)
    assert trouble == []
