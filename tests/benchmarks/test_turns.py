"""A round of several turns is measured as if its turns were one run."""

from __future__ import annotations

import pytest
from benchmarks.cells import Cell, cells_of
from benchmarks.metrics import Middle, rows_of
from benchmarks.plan import FULL, QUICK, Kind, Measured, Spread
from benchmarks.recording import Record
from benchmarks.report import as_markdown
from benchmarks.rounds import CellResult, ContenderResult
from benchmarks.transcript import spread_of
from benchmarks.turns import Times, Turn, round_of

MS = 1_000_000


def turn(*latency_ms: int, cpu: float = 1.0, redis: float | None = None, seconds: float = 1.0) -> Turn:
    """A run of one response, with an event for each latency."""
    times = Times(first=[latency_ms[0] * MS], latency=[ms * MS for ms in latency_ms], whole=[sum(latency_ms) * MS])
    return Turn(
        Measured(
            events=len(latency_ms),
            responses=1,
            seconds=seconds,
            server_cpu_us=cpu,
            redis_cpu_us=redis,
            redis_bytes=redis,
            first=spread_of(times.first),
            latency=spread_of(times.latency),
            whole=spread_of(times.whole),
        ),
        times,
    )


def test_costs_and_events_are_added_up_before_they_are_divided() -> None:
    """Three events of 10 us and one of 30 us are 60 us for four, not the 20 us between the two turns' figures."""
    whole = round_of([turn(1, 1, 1, cpu=10.0, redis=2.0, seconds=2.0), turn(1, cpu=30.0, redis=6.0, seconds=1.0)])

    assert (whole.turns, whole.events, whole.responses, whole.seconds) == (2, 4, 2, 3.0)
    assert (whole.server_cpu_us, whole.redis_cpu_us, whole.redis_bytes) == (15.0, 3.0, 3.0)
    assert round_of([turn(1), turn(1)]).redis_cpu_us is None


def test_percentiles_are_of_all_turns_times_together() -> None:
    """The median of 1 1 1 1 9 9 9 is 1, though those of the turns are 1 and 9."""
    whole = round_of([turn(1, 1, 1, 1), turn(9, 9, 9)])

    assert whole.latency == Spread(1.0, 9.0)
    assert whole.first == Spread(9.0, 9.0)
    assert whole.whole == Spread(27.0, 27.0)


def test_a_round_of_one_turn_is_that_turn() -> None:
    only = turn(1, 2, 3)

    assert round_of([only]) is only.measured
    assert only.measured.turns == 1


def test_a_wrong_turn_makes_its_round_wrong() -> None:
    wrong = Turn(Measured(problems=["stream 3: 1 of 2 events"]))

    assert round_of([turn(1), wrong]) == Measured(problems=["stream 3: 1 of 2 events"], turns=2)


def test_turns_without_their_single_times_are_not_put_together() -> None:
    storm = Turn(Measured(disturbed=Spread(1.0, 2.0)))

    assert round_of([storm]) == storm.measured
    with pytest.raises(ValueError, match="single times"):
        round_of([storm, storm])


def test_cells_with_short_runs_and_a_floor_have_turns() -> None:
    turned = {cell.name: cell for cell in cells_of(FULL) if cell.turns > 1}

    assert set(turned) == {"paced-100-20-2", "paced-100-21.7-1.1", "paced-100-37-1.7", "short"}
    assert {cell.kind for cell in turned.values()} == {Kind.PACED}
    assert [cell.name for cell in cells_of(QUICK) if cell.turns > 1] == []


BURST = Cell("burst", "Burst", Kind.TOGETHER, 1, 1)


def test_a_report_says_how_rounds_are_made_up() -> None:
    cell = Cell("paced", "Paced", Kind.PACED, 1, 1, turns=2)
    rounds = [round_of([turn(1, cpu=cpu), turn(1, cpu=cpu)]) for cpu in (10.0, 12.0)]
    result = CellResult(cell, {"bare": ContenderResult(rounds)})

    table = as_markdown(Record({}, [result]))

    assert result.doubts == "only 2 rounds of 2 turns"
    assert "*A round is 2 turns of each contender, taken together.*" in table
    assert rows_of([result])[0].figures["bare"] == Middle(11.0, 10.0, 12.0)
    assert "A round is" not in as_markdown(Record({}, [CellResult(BURST, {"bare": ContenderResult(rounds)})]))
