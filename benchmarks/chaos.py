"""Studies under SIGKILL at seeded moments: in the end every row once, and the bits of the undisturbed study.

    python benchmarks/chaos.py --kills 100 --seed 1

Tiny studies (pre-training, trunks, branches) run on a Ray of their own while processes of theirs are killed: the
study's own process, whoever trains a trunk or a branch, the controller of a group of workers. A study whose own process
was killed is started again; everything else must come back by itself. Most studies train with one worker, some with
two. Exit status 1 when any row is lost or doubled, any study hangs, or any row or weight differs.
"""

import argparse
import collections
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.chaos_kills import KINDS, Life
from raystudy.records import MEASURED_COLUMNS, TrialState, row_to_dict
from raystudy.spec.plan import Plan, make_plan
from raystudy.store import Store

KILLS_OF_A_STUDY = {1: 12, 2: 4}
"""By workers. A group of workers takes longer to start, so that it is killed less often."""

TIMEOUT_S = 300.0
"""A study that commits nothing for so long hangs."""

STARTS_AT_THE_END = 3
"""A study that ends with an error is started again, as people would; trials that have failed for good stay failed."""

MOST_IN_A_ROW = 2
"""Kills of one segment that did not advance in between: four failures in a row are what raystudy gives up at."""


@dataclass
class Tally:
    """What was done to studies, and what became of them."""

    kills: "collections.Counter[str]" = field(default_factory=collections.Counter)
    studies: int = 0
    lost: int = 0
    doubled: int = 0
    hung: int = 0
    differing: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.doubled or self.hung or self.differing)

    def table(self) -> str:
        """For people."""
        kinds = "".join(f"  {kind:12}{self.kills[kind]:5}\n" for kind in KINDS)
        flaws = "".join(f"  {name:12}{getattr(self, name):5}\n" for name in ("lost", "doubled", "hung", "differing"))
        return f"kills{sum(self.kills.values()):13} in {self.studies} studies\n{kinds}what became of them\n{flaws}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, compare, print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and the victims (default %(default)s)")
    options = parser.parse_args(arguments)
    began, tally, draw = time.monotonic(), Tally(), random.Random(options.seed)

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        references: dict[int, Path] = {}
        planned = rounds(options.kills)
        for number, (workers, kills) in enumerate(planned):
            if workers not in references:
                tell(f"a study with {workers} workers, undisturbed")
                references[workers] = undisturbed(Path(folder) / f"undisturbed{workers}", workers)
            killed = Path(folder) / f"killed{number}" / "s"
            killed.parent.mkdir()
            before = sum(tally.kills.values())
            disturb(killed, references[workers], workers, kills, draw, tally, tell)
            missed = kills - (sum(tally.kills.values()) - before)
            if missed:  # whoever was aimed at had ended by itself
                planned.append((1, missed))
    print(f"\n{tally.table()}in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return 0 if tally.is_clean else 1


def rounds(kills: int) -> list[tuple[int, int]]:
    """Workers and kills of each study: about one kill in twelve hits a study with two workers."""
    left = {2: max(1, kills // 12) if kills > 4 else 0}
    left[1] = kills - left[2]
    found = []
    for workers in (1, 2):
        while left[workers] > 0:
            found.append((workers, min(left[workers], KILLS_OF_A_STUDY[workers])))
            left[workers] -= found[-1][1]
    return found


def undisturbed(folder: Path, workers: int) -> Path:
    """The storage of a study that nobody disturbs."""
    folder.mkdir()
    life = Life(folder / "s", plan_of(workers), workers)
    try:
        _wait(life, lambda: life.process.poll() is not None)
    finally:
        life.end()
    if life.process.returncode != 0:
        raise RuntimeError(f"the undisturbed study failed:\n{life.told()}")
    return folder / "s"


def plan_of(workers: int) -> Plan:
    """What the studies train."""
    from benchmarks.chaos_study import study

    return make_plan(study(workers).trials())


def disturb(
    storage: Path,
    reference: Path,
    workers: int,
    kills: int,
    draw: random.Random,
    tally: Tally,
    tell: Callable[[str], None],
) -> None:
    """One study under that many kills, and what became of it."""
    life = Life(storage, plan_of(workers), workers)
    tally.studies += 1
    try:
        for kind in _kill_now_and_then(life, kills, draw):
            tally.kills[kind] += 1
            tell(f"kill {sum(tally.kills.values())}: {kind}, at {life.committed()} of {life.plan.shared_iterations}")
        _wait(life, lambda: life.process.poll() is not None)
        for _ in range(STARTS_AT_THE_END):
            if life.process.returncode == 0:
                break
            tell(f"the study ended with status {life.process.returncode}, and is started again: {life.told()[-600:]}")
            life.start_again()
            _wait(life, lambda: life.process.poll() is not None)
    except TimeoutError as error:
        tally.hung += 1
        tell(f"{error}: {life.told()}")
    finally:
        life.end()
    lost, doubled, differing = compare(storage, reference, life.plan)
    tally.lost, tally.doubled, tally.differing = tally.lost + lost, tally.doubled + doubled, tally.differing + differing
    tell(f"study {tally.studies} with {workers} workers: {lost} lost, {doubled} doubled, {differing} differing")


def compare(storage: Path, reference: Path, plan: Plan) -> tuple[int, int, int]:
    """Rows or trials that are lost, rows and commits that are there twice, rows and weights that differ."""
    import torch

    store, other = Store.open(storage), Store.open(reference)
    lost, doubled, differing = 0, _committed_twice(store), 0
    for trial_id in plan.trials:
        record, expected = store.read_trial(trial_id), other.read_trial(trial_id)
        assert expected is not None
        if record is None or record.state != TrialState.COMPLETE:
            lost += 1
            continue
        rows, wanted = _rows(store, trial_id), _rows(other, trial_id)
        places = [row[:2] for row in rows]
        lost += len({row[:2] for row in wanted} - set(places))
        doubled += len(places) - len(set(places))
        differing += len(set(rows) - set(wanted))
        one, two = (
            torch.load(s.segment(r.segments[-1].segment_id).load(r.segments[-1].end) / "state.pt", weights_only=True)
            for s, r in ((store, record), (other, expected))
        )
        differing += sum(not torch.equal(one["model"][name], two["model"][name]) for name in two["model"])
    return lost, doubled, differing


def _rows(store: Store, trial_id: str) -> list[tuple[str, ...]]:
    """Split, iteration, and all that the clock has not measured; as text, so that nan equals nan."""
    record = store.read_trial(trial_id)
    assert record is not None
    found = []
    for row in store.trial_rows(record):
        values = [f"{name}={value!r}" for name, value in row_to_dict(row).items() if name not in MEASURED_COLUMNS]
        found.append((row.split, str(row.iteration), *values))
    return found


def _committed_twice(store: Store) -> int:
    """Commits that the logs have of iterations which were committed before."""
    found = 0
    for segment_id in store.segment_ids():
        kept, committed = store.segment(segment_id), 0
        for event in kept.read_log():
            if event["event"] == "commit":
                found += event["iteration"] <= committed
                committed = max(committed, event["iteration"])
    return found


def _kill_now_and_then(life: Life, kills: int, draw: random.Random) -> Iterator[str]:
    """Kill at seeded moments of progress; what was killed each time."""
    last: dict[str, tuple[int, int]] = {}
    kinds = KINDS[:-1] if life.workers == 1 else (KINDS[-1], *KINDS[:-1])  # controllers first: only groups have them
    moments = sorted(draw.randrange(9 * life.plan.shared_iterations // 10) for _ in range(kills))
    for number, moment in enumerate(moments):
        if life.process.poll() not in (None, 0):  # such as a machine too busy for Ray to start in time
            life.start_again()
        _wait(life, partial(_has_reached, life, moment))
        time.sleep(draw.random())
        kind = kinds[number % len(kinds)]
        victim = _victim(life, kind, last)
        if victim is None:  # nobody of that kind is at work: whoever is, else the study's own process
            kind, victim = "worker", _victim(life, "worker", last)
        if victim is None:
            kind, victim = "driver", (life.process.pid, "")
        if life.kill(victim[0]):
            yield kind


def _has_reached(life: Life, moment: int) -> bool:
    return life.committed() >= moment or life.process.poll() is not None


def _victim(life: Life, kind: str, last: dict[str, tuple[int, int]]) -> tuple[int, str] | None:
    for process_id, segment_id in life.candidates(kind):
        if not segment_id:
            return process_id, segment_id
        progress = life.progress(segment_id)
        before, count = last.get(segment_id, (-1, 0))
        if progress > before or count < MOST_IN_A_ROW:
            last[segment_id] = (progress, 1 if progress > before else count + 1)
            return process_id, segment_id
    return None


def _wait(life: Life, is_over: Callable[[], bool]) -> None:
    """Until then; a study that commits nothing for long hangs."""
    committed, since = -1, time.monotonic()
    while not is_over():
        if life.committed() > committed:
            committed, since = life.committed(), time.monotonic()
        if time.monotonic() - since > TIMEOUT_S:
            raise TimeoutError(f"nothing was committed for {TIMEOUT_S:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
