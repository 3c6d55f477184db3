"""A spot machine is taken back: the notice is heard, the trial committed at once and continued with the same bits."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from raystudy.cluster.spot import ENVIRONMENT_VARIABLE, address_of_notices, seconds_left, watched
from raystudy.cluster.worker import run_segment
from raystudy.errors import PreemptedError
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun
from tests.segment_files import checkpoint_file
from tests.tiny_trials import results, settings, tiny_trial


class Service:
    """What a machine's metadata service would say; of AWS until told otherwise."""

    def __init__(self) -> None:
        self.cloud, self.is_going, self.asked = "aws", False, 0

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Status and text, with the headers that the clouds insist on."""
        self.asked += 1
        if self.cloud == "google":
            right = path == "/computeMetadata/v1/instance/preempted" and headers.get("Metadata-Flavor") == "Google"
            return (200, "TRUE" if self.is_going else "FALSE") if right else (404, "")
        if (method, path) == ("PUT", "/latest/api/token"):
            return (200, "secret") if headers.get("X-aws-ec2-metadata-token-ttl-seconds") else (400, "")
        if headers.get("X-aws-ec2-metadata-token") != "secret":
            return 401, ""
        if path != "/latest/meta-data/spot/instance-action" or not self.is_going:
            return 404, ""
        when = datetime.now(UTC) + timedelta(seconds=120)
        return 200, f'{{"action": "terminate", "time": "{when:%Y-%m-%dT%H:%M:%SZ}"}}'


@contextmanager
def served(service: Service) -> Iterator[str]:
    """The address where the service answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.title(): value for name, value in self.headers.items()}
            known = {"X-Aws-Ec2-Metadata-Token": "X-aws-ec2-metadata-token"}
            known["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] = "X-aws-ec2-metadata-token-ttl-seconds"
            given = {known.get(name, name): value for name, value in headers.items()}
            status, text = service.answer(self.command, self.path, given)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("cloud", "least", "most"), [("aws", 100, 121), ("google", 30, 30)])
def test_both_clouds_are_understood(cloud: str, least: float, most: float) -> None:
    service = Service()
    service.cloud = cloud
    with served(service) as address:
        assert seconds_left(address) is None
        service.is_going = True
        left = seconds_left(address)
        assert left is not None
        assert least <= left <= most


def test_where_nobody_answers_nothing_happens() -> None:
    with served(Service()) as address:
        pass
    assert seconds_left(address) is None


def test_the_environment_names_the_service_or_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "http://127.0.0.1:1")
    assert address_of_notices() == "http://127.0.0.1:1"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "off")
    assert address_of_notices() == ""


def test_a_trial_whose_machine_goes_is_committed_at_its_next_row_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    plan = make_plan([tiny_trial(total=8, before_end=2, eval_interval=4, log_interval=1)], share=False)
    (segment,) = plan.segments
    undisturbed, given = settings(tmp_path / "undisturbed"), settings(tmp_path / "s")
    run_segment(segment, undisturbed, FakeRun())
    service, drained = Service(), list[float]()
    with served(service) as address, watched(address, drained.append, poll_s=0.05) as must_leave:
        service.is_going = True
        deadline = time.monotonic() + 10
        while not must_leave() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(PreemptedError, match="at iteration 1"):
            run_segment(segment, given, FakeRun(), must_leave=must_leave)
    assert len(drained) == 1
    kept, other = (Store.open(one.storage).segment(segment.segment_id) for one in (given, undisturbed))
    assert kept.checkpoints() == [1]  # not an evaluation: these are 4 and 8
    run_segment(segment, given, FakeRun())
    assert results(kept.rows()) == results(other.rows())
    one, two = (torch.load(checkpoint_file(store, 8), weights_only=True)["model"] for store in (kept, other))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.ray
def test_nothing_is_started_any_more_on_a_machine_that_goes() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.drained"],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Its trial is still at work, so that it can be committed, when it is no place for another any more.
    assert json.loads(done.stdout.splitlines()[-1]) == {"before": True, "after": False, "works": True}
