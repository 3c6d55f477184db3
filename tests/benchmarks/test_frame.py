"""The frame of the benchmarks: what is judged, how often is measured, which lines are written anew."""

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import timing
from benchmarks.results import RESULTS, update
from benchmarks.row import Outcome, Row
from benchmarks.timing import take_turns


def _row(name: str = "decode", **claim: float) -> Row:
    return Row(
        name=name,
        what="pictures decoded",
        against="a peer",
        measure=lambda quick: Outcome([1.0], [3.0]),
        **(claim or {"at_least": 2.0}),  # type: ignore[arg-type]
    )


def test_at_least_judges_how_many_times_faster() -> None:
    found = Outcome([1.0, 1.0, 2.0], [3.0, 4.0, 6.0])
    assert _row().figures(found) == (3.0, 3.0, 4.0)
    assert _row(at_least=3.0).holds(found)
    assert not _row(at_least=3.1).holds(found)
    assert _row(at_least=2.0, stretch=3.0).reaches_stretch(found)
    assert not _row(at_least=2.0, stretch=3.5).reaches_stretch(found)


def test_at_most_judges_the_part_of_the_peers() -> None:
    found = Outcome([1.0], [4.0])
    assert _row(at_most=0.5).holds(found)
    assert not _row(at_most=0.2).holds(found)
    assert _row(at_most=0.05).figure_text(Outcome([1.0], [200.0])) == "0.5%"
    assert _row(at_most=0.5).figure_text(Outcome([1.0, 1.0, 2.0], [4.0, 5.0, 8.0])) == "0.25x (0.2x-0.25x)"


def test_wrong_results_fail_however_fast_they_are() -> None:
    assert not _row().holds(Outcome([1.0], [9.0], is_right=False))
    assert not _row().holds(Outcome([1.0], [9.0], is_right=False), quick=True)
    assert _row().holds(Outcome([9.0], [1.0]), quick=True)


def test_what_no_program_could_do_here_does_not_fail_but_is_not_said_to_hold() -> None:
    found = Outcome([1.0, 1.0], [2.9, 2.9], floor=[0.95, 0.92])
    assert _row(at_least=3.0).holds(found)
    assert _row(at_least=3.0).verdict(found) == "the machine's limit"
    slow = Outcome([1.0, 1.0], [2.9, 2.9], floor=[0.9, 0.8])
    assert not _row(at_least=3.0).holds(slow)
    assert _row(at_least=3.0).verdict(slow) == "FAILS"
    assert _row(at_least=2.0).verdict(found) == "holds"


def test_what_cannot_be_measured_here_does_not_fail() -> None:
    assert _row().holds(Outcome(missing="no bf16"))


def test_a_row_claims_one_thing() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        _row(at_least=2.0, at_most=0.5)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 8), (2.0, 5), (20.0, 3)])
def test_short_work_is_measured_more_often_and_who_begins_changes(
    seconds: float, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, order = 0.0, ""

    def work(name: str, length: float) -> None:
        nonlocal now, order
        now, order = now + length, order + name

    monkeypatch.setattr("benchmarks.timing.gc.collect", lambda: 0)
    ours, peer = take_turns(lambda: work("a", seconds), lambda: work("b", 2 * seconds), clock=lambda: now)
    assert len(ours) == len(peer) == timing.rounds_for(2 * seconds)
    assert timing.rounds_for(seconds) == rounds
    assert peer == pytest.approx([2 * seconds] * len(peer))
    assert order.startswith("abbaab")


def test_results_change_only_in_lines_that_were_measured(tmp_path: Path) -> None:
    path, rows = tmp_path / "RESULTS.md", [_row("first"), _row("second"), _row("third")]
    update([(row, Outcome([1.0], [2.5], note=f"as {row.name} was")) for row in rows], rows, path)
    before = path.read_text().splitlines()
    update([(rows[1], Outcome([1.0], [1.0], note="now"))], rows, path)
    after = path.read_text().splitlines()
    changed = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert {old.split()[1].strip("`:") for old, _ in changed} == {"second"}
    assert "| 1x |" in path.read_text()
    assert "| FAILS |" in path.read_text()
    update([(rows[0], Outcome(missing="no bf16"))], rows[:2], path)
    assert "third" in path.read_text()
    assert "not measurable here: no bf16" in path.read_text()


def test_rows_are_chosen_by_name_or_file() -> None:
    files = {"x": [_row("a"), _row("c")], "y": [_row("b")]}
    assert [row.name for _, row in command.choose(files, [])] == ["a", "c", "b"]
    assert [row.name for _, row in command.choose(files, ["x"])] == ["a", "c"]
    assert [row.name for _, row in command.choose(files, ["b", "c"])] == ["b", "c"]
    with pytest.raises(KeyError, match="z"):
        command.choose(files, ["z"])


def test_the_command_fails_when_a_row_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = {"x": [_row("slow", at_least=5.0), _row("fast")]}
    written: list[str] = []
    monkeypatch.setattr(command, "rows_by_file", lambda: rows)
    monkeypatch.setattr(command, "measure", lambda file, row, quick: row.measure(quick))
    monkeypatch.setattr(command, "update", lambda found, known: written.extend(row.name for row, _ in found))
    assert command.main(["fast"]) == 0
    assert command.main([]) == 1
    assert written == ["fast", "slow", "fast"]
    assert command.main(["--quick"]) == 0
    assert len(written) == 3
    with pytest.raises(SystemExit):
        command.main(["nothing"])


def test_every_row_has_a_name_of_its_own_and_every_result_is_of_a_row() -> None:
    rows = command.rows_by_file()
    names = {row.name for found in rows.values() for row in found}
    assert {"evaluation", "load", "tiny_iteration"} <= names
    assert RESULTS.exists()
    lines = [line.split(" | ")[0].strip("| ") for line in RESULTS.read_text().splitlines() if line.startswith("| ")]
    assert set(lines) - {"row", "---"} <= names
