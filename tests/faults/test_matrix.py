"""Every fault, over every transport and layer: what is said of it, and how often the server is asked."""

from __future__ import annotations

import itertools

import pytest
from support.cases import Cases
from support.faults import rows_answered, rows_ready, rows_sent, rows_surplus, rows_unreadable, rows_unsent
from support.faults.matrix import Row, run
from support.faults.scenes import LAYERS, TRANSPORTS

GROUPS: dict[str, tuple[Row, ...]] = {
    "not sent, tried again": rows_unsent.RETRIED,
    "mended without a word": rows_unsent.TRANSPARENT,
    "not sent, final": rows_unsent.FINAL,
    "may have been sent: on the way": rows_sent.ON_THE_WAY,
    "may have been sent: no answer": rows_sent.AFTER_THE_REQUEST,
    "may have been sent: no readable answer": rows_unreadable.ROWS,
    "surplus answers": rows_surplus.ROWS,
    "answered": rows_answered.ROWS,
    "answered: how an answer ends": rows_answered.ENDS,
    "hooks and engines of a ready client": rows_ready.ROWS,
}
ROWS = [pytest.param(group, row, id=row.fault) for group, rows in GROUPS.items() for row in rows]


@pytest.mark.parametrize(("group", "row"), ROWS)
async def test_fault_is_reported_as_its_row_says(group, row, later, record_property):
    phase = "/".join(phase.name for phase in sorted(row.phase))
    said = row.disposition.__name__ if isinstance(row.disposition, type) else str(row.disposition)
    record_property("row", [group, row.fault, phase, said])
    cases = Cases()
    for mode, layer in itertools.product(TRANSPORTS, LAYERS):
        here = row.at(mode, layer)
        if here is not None:
            outcome = None
            with cases.case(lambda: f"{mode}, {layer}"):  # noqa: B023  # in this pass
                outcome = await run(here, mode, layer, later)
            record_property("run", [mode, layer, outcome])
    cases.end()


def test_every_row_has_a_name_of_its_own():
    names = [row.fault for rows in GROUPS.values() for row in rows]
    assert len(names) == len(set(names))


def test_every_exception_names_a_transport():
    places = {place for mode in TRANSPORTS for place in (mode, f"{mode}, plain", f"{mode}, TLS")}
    for rows in GROUPS.values():
        for row in rows:
            assert {*row.over, *row.without} <= places, row.fault
