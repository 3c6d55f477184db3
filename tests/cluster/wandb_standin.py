"""A W&B server on loopback, as far as wandb talks to it: runs, history, config, summary, files, artifacts, outages.

History lines are kept at the offset at which they are sent, as the real server does, so that a retried request repeats
nothing. An operation that is not known is answered with an error and remembered in ``unhandled``: a test that wants to
know whether the stand-in was enough asserts that it is empty.

    with Standin() as server:
        server.use(monkeypatch)
        ...                                   # wandb.init(...) online
        server.runs["abc"].history            # what arrived
        server.break_down("unavailable")      # or "hanging", until server.mend(); `server.stop()` is a dead one
"""

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import pytest

from tests.cluster.wandb_standin_artifacts import ArtifactAnswers
from tests.cluster.wandb_standin_pages import PageAnswers

KEY = "0123456789" * 4
ENTITY = "tester"


@dataclass
class ServedRun:
    """What the server holds of one run."""

    name: str
    project: str = ""
    group: str = ""
    job_type: str = ""
    display_name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)
    """History lines by offset."""

    events: dict[int, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    is_complete: bool = False
    upserts: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The points in the order of their offsets."""
        return [json.loads(self.lines[offset]) for offset in sorted(self.lines)]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that a killed process leaves behind are no news."""


class Standin(ArtifactAnswers, PageAnswers):
    """The server, in threads of this process."""

    def __init__(self) -> None:
        self.runs: dict[str, ServedRun] = {}
        self.unhandled: list[str] = []
        self.deleted: set[str] = set()
        """Runs that were deleted; W&B does not take their ids again."""

        ArtifactAnswers.__init__(self)
        PageAnswers.__init__(self)
        self.mode: Literal["", "unavailable", "hanging"] = ""
        self.mended = threading.Event()
        self.requests = 0
        self._server = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def break_down(self, mode: Literal["unavailable", "hanging"]) -> None:
        """Answer 503, or not at all, until ``mend``."""
        self.mended.clear()
        self.mode = mode

    def mend(self) -> None:
        """Answer again; requests that hang are dropped."""
        self.mode = ""
        self.mended.set()

    @property
    def url(self) -> str:  # type: ignore[override]
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let wandb in this process and its children talk to this server."""
        monkeypatch.delenv("WANDB_MODE", raising=False)
        for key, value in self.environment.items():
            monkeypatch.setenv(key, value)

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ENTITY": ENTITY}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.mended.set()
        self._server.shutdown()
        self._server.server_close()

    def run(self, name: str) -> ServedRun:
        return self.runs.setdefault(name, ServedRun(name))

    # GraphQL: one method an operation; what wandb-core reads of the answer, and nothing else.

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The ``data`` of an operation; None when it is not known."""
        known = getattr(self, f"_on_{operation.lower()}", None)
        if known is None:
            self.unhandled.append(operation)
            return None
        try:
            answered: dict[str, Any] = known(variables)
        except Exception as error:  # an answer that breaks off would be asked for again and again
            self.unhandled.append(f"{operation}: {error!r}")
            return None
        return answered

    def _on_organizationcoreweaveorganizationid(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _on_viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "viewer": {"id": "VXNlcjox", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}
        }

    def _on_serverfeaturesquery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _on_runresumestatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        bucket = None
        if run is not None and run.upserts:
            tail = [run.lines[offset] for offset in sorted(run.lines)][-1:]
            bucket = {
                "id": f"id-{run.name}",
                "name": run.name,
                "displayName": run.display_name,
                "summaryMetrics": json.dumps(run.summary),
                "config": json.dumps(run.config),
                "historyLineCount": len(run.lines),
                "eventsLineCount": len(run.events),
                "logLineCount": 0,
                "historyTail": json.dumps(tail),
                "eventsTail": "[]",
                "tags": run.tags,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": {"id": "model", "name": variables["project"], "entity": {"name": ENTITY}, "bucket": bucket}}

    def _on_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        found = None
        if run is not None:
            found = {"id": f"id-{run.name}", "name": run.name, "displayName": run.display_name, "state": "finished"}
            found |= {"tags": run.tags, "config": "{}", "summaryMetrics": "{}", "systemMetrics": "{}", "projectId": 1}
            found |= {"sweepName": None, "createdAt": "2020-01-01T00:00:00", "historyKeys": None}
        return {"project": {"run": found}}

    def _on_deleterun(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["id"].removeprefix("id-")
        del self.runs[name]
        self.deleted.add(name)
        return {"deleteRun": {"clientMutationId": None}}

    def _on_upsertbucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        if variables["name"] in self.deleted:
            raise ValueError("the id of a deleted run")
        run = self.run(variables["name"])
        run.upserts += 1
        run.project = variables.get("project") or run.project
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        run.display_name = variables.get("displayName") or run.display_name
        run.tags = variables.get("tags") or run.tags
        if variables.get("config"):
            run.config |= json.loads(variables["config"])
        if variables.get("summaryMetrics"):
            run.summary |= json.loads(variables["summaryMetrics"])
        project = {"id": "project", "name": run.project, "entity": {"id": "entity", "name": ENTITY}}
        bucket = {
            "id": f"id-{run.name}",
            "name": run.name,
            "displayName": run.display_name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": run.upserts == 1}}

    def _on_createrunfiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{variables['run']}/{name}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": f"id-{variables['run']}", "uploadHeaders": [], "files": files}}

    # The stream of a run

    def stream(self, name: str, body: dict[str, Any]) -> None:
        run = self.run(name)
        for file, chunk in (body.get("files") or {}).items():
            if file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
            target = {"wandb-history.jsonl": run.lines, "wandb-events.jsonl": run.events}.get(file)
            if target is not None:
                target.update(enumerate(chunk["content"], chunk["offset"]))
        if body.get("complete"):
            run.is_complete, run.exit_code = True, body.get("exitcode")


def _handler_of(standin: Standin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            body = self._body()
            if self._is_out():
                return
            if self.path == "/graphql":
                request = json.loads(body)
                named = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
                operation = request.get("operationName") or (named[1] if named else "")
                data = standin.answer(operation, request.get("variables") or {})
                if data is None:
                    self._send(400, {"errors": [{"message": f"unknown operation {operation}"}]})
                else:
                    self._send(200, {"data": data})
            elif self.path.endswith("/file_stream"):
                standin.stream(self.path.split("/")[-2], json.loads(body))
                self._send(200, {})
            else:  # wandb's own telemetry
                self._send(200, {})

        def do_PUT(self) -> None:
            body = self._body()
            if self._is_out():
                return
            _, place, name, file = self.path.split("/", 3)
            kept = standin.artifacts[name] if place == "artifact" else standin.run(name)
            kept.files[file] = body
            self._send(200, {})

        def do_GET(self) -> None:
            self._send(404, {})

        def _is_out(self) -> bool:
            """Whether the server is out of order, in which case it has answered so, or hung until it was mended."""
            standin.requests += 1
            if standin.mode == "unavailable":
                self._send(503, {"error": "out of order"})
            elif standin.mode == "hanging":
                standin.mended.wait()
                self.close_connection = True
            else:
                return False
            return True

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, status: int, content: dict[str, Any]) -> None:
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler
