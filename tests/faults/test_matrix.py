"""Every fault, over every transport: what is said of it, and how often the server is asked."""

from __future__ import annotations

import pytest
import rows_answered
import rows_sent
import rows_unreadable
import rows_unsent
from matrix import TRANSPORTS, Row, run

GROUPS: dict[str, tuple[Row, ...]] = {
    "not sent, tried again": rows_unsent.RETRIED,
    "mended without a word": rows_unsent.TRANSPARENT,
    "not sent, final": rows_unsent.FINAL,
    "may have been sent: on the way": rows_sent.ON_ACCEPT,
    "may have been sent: no answer": rows_sent.AFTER_THE_REQUEST,
    "may have been sent: no readable answer": rows_unreadable.ROWS,
    "surplus answers": rows_unreadable.SURPLUS,
    "answered": rows_answered.ROWS,
}
ROWS = [(group, row) for group, rows in GROUPS.items() for row in rows]


@pytest.mark.parametrize("mode", TRANSPORTS)
@pytest.mark.parametrize(("group", "row"), ROWS, ids=[row.fault for _, row in ROWS])
async def test_what_is_said_of_a_fault(group, row, mode, record_property):
    # Text and numbers alone: the process that runs the test is not the one that shows the table.
    record_property("row", (group, row.fault, *row.columns, mode))
    if mode in row.without:
        pytest.skip(row.without[mode])
    seen = await run(row, mode)
    record_property("outcome", (seen.attempts, seen.posts))


def test_every_row_has_a_name_of_its_own():
    names = [row.fault for _, row in ROWS]
    assert len(names) == len(set(names))
