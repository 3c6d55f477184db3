"""Where a segment's files lie in a storage that is a folder, for tests that damage them or look into them."""

from pathlib import Path

from raystudy.segment_store import SegmentStore
from raystudy.store import Store


def folder_of(place: str | None, kept: SegmentStore) -> Path:
    """The folder of a published place of a segment."""
    assert place is not None
    found = kept.files.local_path(place)
    assert found is not None
    return found


def checkpoint_file(kept: SegmentStore, iteration: int, name: str = "state.pt") -> Path:
    """One file of a checkpoint."""
    return folder_of(kept.checkpoint(iteration), kept) / name


def assert_nothing_committed_is_trained_again(store: Store) -> int:
    """By the logs; the number of iterations that were committed, of all segments together."""
    found = 0
    for segment_id in store.segment_ids():
        kept = store.segment(segment_id)
        spec = store.files.read_json(f"{kept.folder}/spec.json")
        committed = start = spec["start"]
        for event in kept.read_log():
            if event["event"] == "start":
                assert event["iteration"] >= committed, f"{segment_id} went back to {event['iteration']}"
            if event["event"] == "commit":
                assert event["iteration"] > committed, f"{segment_id} committed {event['iteration']} twice"
                committed = event["iteration"]
        found += committed - start
    return found
