"""What a study's storage says while it runs, and whether two of them hold the same bits; also as a command, in JSON.

python -m tests.real_cluster.storages running STORAGE
python -m tests.real_cluster.storages differences STORAGE REFERENCE
"""

import dataclasses
import json
import sys
from collections import Counter
from dataclasses import dataclass

from raystudy.records import SegmentRef, TrialState
from raystudy.store import Store


@dataclass(frozen=True, slots=True)
class Training:
    """Who trains a segment now, or did last."""

    segment: str
    host: str
    attempt: int
    committed: int
    """Iterations that are safe."""

    end: int
    is_over: bool


def running(storage: str) -> list[Training]:
    """Every segment that some machine has begun."""
    store, found = Store.open(storage), []
    for name in store.files.names("segments"):
        segment = store.segment(name)
        attempt = segment.newest_attempt()
        spec = store.files.read_json(f"segments/{name}/spec.json")
        if not attempt or spec is None:
            continue
        host = (store.files.read_json(f"segments/{name}/attempts/{attempt}.json") or {}).get("host", "")
        is_over = segment.result() is not None
        found.append(Training(name, host, attempt, segment.committed_iteration(), int(spec["end"]), is_over))
    return found


def differences(storage: str, reference: str) -> list[str]:
    """Where two storages of one study differ in what was trained: trials, rows or weights."""
    import torch

    from tests.tiny_trials import results

    def weights(store: Store, last: SegmentRef) -> dict[str, torch.Tensor]:
        state = store.segment(last.segment_id).load(last.end) / "state.pt"
        loaded: dict[str, torch.Tensor] = torch.load(state, weights_only=True)["model"]
        return loaded

    one, other = Store.open(storage), Store.open(reference)
    records = {record.trial_id: record for record in one.trials()}
    expected = {record.trial_id: record for record in other.trials()}
    found = [f"trial {name} is in one only" for name in sorted(records.keys() ^ expected.keys())]
    found += [] if records else ["there are no trials"]
    for name in sorted(records.keys() & expected.keys()):
        mine, theirs = records[name], expected[name]
        found += [f"{name} is {record.state}" for record in (mine, theirs) if record.state != TrialState.COMPLETE]
        rows = results(one.trial_rows(mine))
        found += [] if rows == results(other.trial_rows(theirs)) else [f"{name}: rows differ"]
        counts = Counter((row["split"], row["iteration"]) for row in rows)
        found += [f"{name}: {split} row at {at} is doubled" for (split, at), count in counts.items() if count > 1]
        left, right = weights(one, mine.segments[-1]), weights(other, theirs.segments[-1])
        found += [f"{name}: weights {key} differ" for key in left if not torch.equal(left[key], right[key])]
    return found


if __name__ == "__main__":
    if sys.argv[1] == "running":
        print(json.dumps([dataclasses.asdict(training) for training in running(sys.argv[2])]))
    else:
        print(json.dumps(differences(*sys.argv[2:])))
