"""Several HTTP processes on one port: they share the data, and none outlives the server."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest
import requests

from lamella.app.http_server import bind_beside, listen
from lamella.errors import OutOfResources
from lamella.settings import Address
from tests.harness.samples import make_instance
from tests.harness.server import launch_server, list_children, serve


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: object, what: str) -> None:
    deadline = monotonic() + 30
    while monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return
        sleep(0.05)
    pytest.fail(what)


def store(root: str, number: int) -> None:
    data = make_instance(sop=f"1.2.3.1.{number}")
    answer = requests.post(
        f"{root}/studies", data, headers={"Content-Type": "application/dicom"}, timeout=60
    )
    assert answer.status_code == 200, answer.text


def count_instances(root: str) -> int:
    # a new connection each time, so that every process gets its share of them
    return len(requests.get(f"{root}/instances", timeout=60).json())


def test_all_processes_answer_alike_and_count_together(tmp_path: Path) -> None:
    with serve(tmp_path / "data", workers="2") as server:
        assert len(list_children(server.process.pid)) == 1
        for number in range(1, 11):
            store(server.root(), number)
            assert count_instances(server.root()) == number
        metrics = requests.get(f"{server.http}/metrics", timeout=60).text
        line = 'lamella_http_requests_total{method="GET",route="search-instances",status="200"}'
        assert f"{line} 10.0" in metrics


def test_many_connections_need_no_setting_of_the_system(tmp_path: Path) -> None:
    few_files = ("sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh")
    server = launch_server(tmp_path / "data", prefix=few_files)
    try:
        host, port = server.http.removeprefix("http://").split(":")
        with ExitStack() as opened:
            for _ in range(400):
                connection = opened.enter_context(socket.create_connection((host, int(port)), 30))
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(64).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0
    finally:
        server.close_streams()


def test_connections_are_spread_over_the_processes(tmp_path: Path) -> None:
    def count_files(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with serve(tmp_path / "data", workers="2") as server, ExitStack() as opened:
        pids = [server.process.pid, *list_children(server.process.pid)]
        before = [count_files(pid) for pid in pids]
        host, port = server.http.removeprefix("http://").split(":")
        for _ in range(60):
            connection = opened.enter_context(socket.create_connection((host, int(port)), 30))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 200")
        shares = [count_files(pid) - n for pid, n in zip(pids, before, strict=True)]
        assert min(shares) >= 10  # fewer by chance: once in ten million runs


@pytest.mark.parametrize("is_shared", [False, True])
def test_an_address_that_is_shared_is_taken_for_others(is_shared: bool) -> None:
    with listen(Address("127.0.0.1", 0), is_shared=True) as listener:
        address = Address(*listener.getsockname()[:2])
        with pytest.raises(OutOfResources, match="Address already in use"):
            listen(address, is_shared=is_shared)
        with bind_beside(listener) as beside:
            beside.listen()
            assert beside.getsockname() == listener.getsockname()


def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    with serve(tmp_path / "data", workers="2") as server:
        (worker,) = list_children(server.process.pid)
        store(server.root(), 1)
        os.kill(worker, signal.SIGKILL)
        wait_for(
            lambda: [pid for pid in list_children(server.process.pid) if pid != worker],
            "no worker took the place of the dead one",
        )
        assert count_instances(server.root()) == 1


def test_workers_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    server = launch_server(tmp_path / "data", workers="2")
    (worker,) = list_children(server.process.pid)
    server.kill()
    wait_for(lambda: not is_alive(worker), "the worker outlived its server")
    with serve(tmp_path / "data", http=server.http.removeprefix("http://")) as again:
        assert count_instances(again.root()) == 0
