"""Tables from Weights & Biases: the real SDK, over HTTP, against a server that answers as the service does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from kd_experiments.reporting.__main__ import main
from kd_experiments.reporting.records import as_run, collect
from kd_experiments.reporting.wandb_source import as_record
from tests.conftest import Cli, records
from tests.tracking.test_wandb_run import read_offline_run


class Service(ThreadingHTTPServer):
    """Answers the queries of the SDK from `configs`; None stands for a project that is not there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.configs: list[dict[str, Any]] | None = None
        self.asked: dict[str, Any] = {}


class Answers(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self._graphql(json.loads(body)) if self.path == "/graphql" else {}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _graphql(self, question: dict[str, Any]) -> dict[str, Any]:
        if "project(" not in question["query"]:
            viewer = {"id": "1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
            return {"data": {"viewer": viewer}}
        self.server.asked = question["variables"]
        if self.server.configs is None:
            return {"data": {"project": None}}
        edges = [
            {"node": self._node(number, config), "cursor": str(number)}
            for number, config in enumerate(self.server.configs)
        ]
        runs = {"edges": edges, "pageInfo": {"endCursor": str(len(edges)), "hasNextPage": False}}
        return {"data": {"project": {"internalId": "1", "runCount": len(edges), "runs": runs}}}

    def _node(self, number: int, config: dict[str, Any]) -> dict[str, Any]:
        wrapped = {key: {"value": value, "desc": None} for key, value in config.items()}
        return {
            "id": str(number), "name": f"run{number}", "displayName": "", "state": "finished", "tags": [], "group": "",
            "config": json.dumps(wrapped), "summaryMetrics": "{}", "systemMetrics": "{}", "projectId": "1",
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "sweepName": None,
            "user": {"username": "me"}, "description": "",
            "notes": "", "commit": None, "jobType": "", "readOnly": False, "historyKeys": None,
            "metadata": None,
        }  # fmt: skip

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    server = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()  # the SDK keeps the settings of its first use
    yield server
    wandb.teardown()
    server.shutdown()
    server.server_close()


def test_the_same_tables_as_from_local_records(
    cli: Cli, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("--multirun", "method=none,kd", "seed=0", "tracking.mode=offline").code == 0
    sent = [read_offline_run(path)["config"] for path in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))]
    service.configs = [*sent, {"lr": 0.1}]  # and a run of something else
    by_signature = {record["signature"]: record for record in records(tmp_path)}
    for config in sent:
        record = as_record(config)
        assert record is not None
        local = by_signature[record["signature"]]
        for part in ("status", "seed", "config", "teacher", "data", "metrics", "revision", "environment"):
            assert record.get(part) == local.get(part), part
        assert as_run(record).figures() == as_run(local).figures()
    assert main([f"paths.results={tmp_path}"]) == 0
    here = capsys.readouterr().out
    before = sorted(tmp_path.rglob("*.md"))
    assert main([f"paths.results={tmp_path}", "source=wandb", "entity=team", "project=mine"]) == 0
    there = capsys.readouterr().out
    assert "runs in team/mine: 2 complete, 1 unreadable" in there
    assert (service.asked["entity"], service.asked["project"]) == ("team", "mine")
    rows = [line for line in here.splitlines() if line.startswith("|")]
    assert len(rows) > 5 and rows == [line for line in there.splitlines() if line.startswith("|")]
    assert sorted(tmp_path.rglob("*.md")) == before


def test_no_such_project(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source=wandb", "project=nothing"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Could not find project nothing of me/nothing; give entity=" in said


def test_no_connection(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr("kd_experiments.reporting.wandb_source.TIMEOUT", 2)
    wandb.teardown()
    assert main(["source=wandb", "entity=team"]) == 2
    wandb.teardown()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"127.0.0.1:{port}" in said and "check the connection" in said


def test_no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    assert main(["source=wandb", "entity=team"]) == 2
    wandb.teardown()
    said = capsys.readouterr().err
    assert said == "error: source=wandb: not logged in to Weights & Biases; log in with: wandb login\n"


def test_runs_that_did_not_end_are_not_complete() -> None:
    running = as_record({"seed": 1, "signature": "x", "_wandb": {}, "record": {"status": "failed", "error": "no"}})
    assert running == {"status": "failed", "error": "no", "config": {"seed": 1}}
    assert as_record({"seed": 1}) is None
    assert collect([("a", running), ("b", None)]).statuses == {"failed": 1, "unreadable": 1}


def test_an_unknown_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source=wandbb"]) == 2
    assert "did you mean wandb?" in capsys.readouterr().err
