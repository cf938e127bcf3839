"""A real nginx before a server, with the site file that the documentation shows."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

SITE = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"
PREFIX = "/imaging"
_START_TIMEOUT_S = 20
_MAIN = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str, site: str | None = None) -> Iterator[str]:
    """Run nginx for the time of a block and yield the server's URL behind it.

    Args:
        folder: What it writes goes there.
        upstream: URL of the server behind it.
        site: A site file; the documentation's when None.
    """
    program = find_nginx()
    port = _find_port()
    text = (SITE.read_text() if site is None else site).replace(
        "127.0.0.1:8080", f"127.0.0.1:{port}"
    )
    text = text.replace("http://127.0.0.1:8042", upstream)
    user = "user root;" if os.geteuid() == 0 else ""
    folder.mkdir(exist_ok=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_MAIN.format(folder=folder, user=user, site=text))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration)])
    try:
        _wait_for(process, port)
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait(_START_TIMEOUT_S)


def find_nginx() -> str:
    """Return nginx's path; skip the test without it, but fail it where CI must have it."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert os.environ.get("CI") != "true", "make services installs nginx"
        pytest.skip("nginx is not installed (make services).")
    return program


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = monotonic() + _START_TIMEOUT_S
    while monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            sleep(0.05)
        else:
            return
    raise AssertionError("nginx did not start")
