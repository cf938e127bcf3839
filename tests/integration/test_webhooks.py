"""A commit is told to who wants to hear of it: signed, and again until it is taken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from lamella.jobs.webhooks import HEADER, sign
from tests.harness.collection import Collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import run_cli, serve
from tests.harness.stack import run_statement

PATIENCE_S = 60


class Receiver:
    """A receiver that answers as it is told, in turn."""

    def __init__(self, *statuses: int) -> None:
        received: Queue[tuple[dict[str, str], bytes]] = Queue()
        left = list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put((dict(self.headers), body))
                self.send_response(left.pop(0) if left else 204)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                return

        self.received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(500)
    yield made
    made.close()


def add_hook(data_dir: Path, url: str) -> dict[str, Any]:
    done = run_cli(data_dir, "webhook", "add", url, "--json")
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


@pytest.mark.in_process
def test_a_commit_is_told_until_it_is_taken(tmp_path: Path, receiver: Receiver) -> None:
    data_dir = tmp_path / "data"
    with serve(data_dir, dimse="off") as server, open_client() as client:
        hook = add_hook(data_dir, receiver.url)
        commit = Collection(client, server, "default").store_well(make_instance())
        headers, body = receiver.received.get(timeout=PATIENCE_S)
        run_statement(data_dir, "UPDATE outbox SET due_us = 0 WHERE state = 'waiting'")
        again, same = receiver.received.get(timeout=PATIENCE_S)
        job = wait_for_end(client, server.http)

    assert (json.loads(body)["commit"], json.loads(body)["branch"]) == (commit, "main")
    assert same == body
    for one in (headers, again):
        time_s = int(one[HEADER].partition(",")[0].removeprefix("t="))
        assert one[HEADER] == sign(hook["secret"], time_s, body)
    assert (job["state"], job["attempts"], job["result"]) == ("done", 2, {"status": 204})
    assert hook["secret"] not in json.dumps(job)
    listed = run_cli(data_dir, "webhook", "list", "--json").stdout
    assert hook["secret"] not in listed
    assert [one["url"] for one in json.loads(listed)] == [receiver.url]
    assert run_cli(data_dir, "webhook", "remove", str(hook["id"])).returncode == 0
    assert json.loads(run_cli(data_dir, "webhook", "list", "--json").stdout) == []


def test_other_urls_are_refused(tmp_path: Path) -> None:
    done = run_cli(tmp_path / "data", "webhook", "add", "file:///etc/passwd")
    assert done.returncode == 1
    assert "http" in done.stderr


def wait_for_end(client: Any, http: str) -> dict[str, Any]:
    """Return the only job once it has ended."""
    until = time.monotonic() + PATIENCE_S
    while True:
        (job,) = client.get(f"{http}/api/v1/jobs").json()
        if job["ended"] is not None:
            found: dict[str, Any] = job
            return found
        assert time.monotonic() < until, job
        time.sleep(0.1)
