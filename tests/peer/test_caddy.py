"""The Caddyfile of `deploy/` before a real server: who may enter, and what passes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from pydicom.data import get_testdata_file

from tests.harness.server import serve
from tests.harness.web import store

CADDYFILE = Path(__file__).parents[2] / "deploy" / "docker" / "Caddyfile"
PASSWORD = ("reader", "open sesame")
HASH = "$2a$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"  # quick, of cost 4
PATIENCE_S = 60


@contextmanager
def caddy(folder: Path, upstream: str) -> Iterator[str]:
    """Run Caddy for the time of a block and yield the URL that it serves, without TLS."""
    program = shutil.which("caddy")
    if program is None:
        assert os.environ.get("CI") != "true", "make services installs caddy"
        pytest.skip("caddy is not installed (make services).")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PACS_HOST": f"http://127.0.0.1:{port}",
        "PACS_USER": PASSWORD[0],
        "PACS_PASSWORD_HASH": HASH,
        "PACS_UPSTREAMS": upstream,
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    configuration = folder / "Caddyfile"  # with no port of its own for administrators
    configuration.write_text("{\n\tadmin off\n}\n" + CADDYFILE.read_text())
    command = [program, "run", "--adapter", "caddyfile", "--config", str(configuration)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_for(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/healthz", timeout=PATIENCE_S).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not up yet
        sleep(0.1)
    raise AssertionError("Caddy did not start")


def test_a_password_opens_the_door_and_is_not_passed_on(tmp_path: Path) -> None:
    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    told = b64encode(":".join(PASSWORD).encode()).decode()
    public = "https://pacs.example.org"
    with (
        serve(tmp_path / "data", dimse="off", public_url=public) as server,
        caddy(tmp_path, server.http.removeprefix("http://")) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S) as stranger,
        httpx.Client(base_url=url, auth=PASSWORD, timeout=PATIENCE_S) as reader,
    ):
        root = "/dicomweb/default/main/studies"
        assert stranger.get("/healthz").status_code == 200
        for path in (root, "/", "/api/v1/datasets", "/metrics", "/healthz/.."):
            assert stranger.get(path).status_code == 401
        assert reader.get("/metrics").status_code == 404
        dicomweb = f"{url}{root}".removesuffix("/studies")
        assert store(dicomweb, [data]).status == 401
        assert store(dicomweb, [data], headers={"Authorization": f"Basic {told}"}).status == 200
        found = reader.get(root)
        assert found.json()[0]["00081190"]["Value"][0].startswith(f"{public}/dicomweb/")
