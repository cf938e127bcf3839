"""System calls of a store: what must be on the disk is synced before the sender is told.

Source:
    fsync(2): a file's own sync does not make its name durable; that takes its folder's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.samples import make_instance
from tests.harness.server import launch_server, list_children
from tests.harness.web import store
from tests.integration.test_full_disk import push

pytestmark = pytest.mark.embedded

CALLS = (
    "mkdir,mkdirat,open,openat,pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,"
    "rename,renameat,renameat2,sendto,sendmsg"
)
WRITES = ("pwrite64", "pwritev", "pwritev2", "write", "writev")
SMALL, LARGE = 256, 1024  # pixels a side: 128 KiB, and 2 MiB, which is longer than a block
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>")
_PACK = re.compile(r"\d+<(?P<path>[^>]+\.pack)>")
_RENAME = re.compile(r'"(?P<source>[^"]+\.spool)".*"(?P<target>[^"]+\.pack)"')
_UNFINISHED = "<unfinished ...>"
_STOW_ANSWER = r'"HTTP/1.1 200 OK\r\ncontent-type: application/dicom+json'
_SENDS = ("sendto", "sendmsg")
_P_DATA = r'"\4\0\0\0'  # PS3.8 Table 9-22: the server sends no other P-DATA-TF than its answer


@dataclass
class Call:
    """One system call.

    Attributes:
        begun: Line of the trace on which it begins.
        ended: Line on which it has ended.
    """

    name: str
    arguments: str
    begun: int
    ended: int


@pytest.fixture
def strace(tmp_path: Path) -> list[str]:
    """The command that traces into `calls.txt`."""
    path = shutil.which("strace")
    refusal = "strace is not installed."
    if path is not None:
        probe = subprocess.run([path, "-f", "true"], capture_output=True, text=True, check=False)
        refusal = "" if probe.returncode == 0 else "This system permits no tracing of processes."
    if refusal and os.environ.get("CI", "").lower() == "true":
        pytest.fail(refusal)
    if refusal:
        pytest.skip(refusal)
    output = str(tmp_path / "calls.txt")
    return [path or "", "-f", "-y", "-s", "64", "-o", output, "-e", f"trace={CALLS}"]


def test_server_syncs_before_it_answers(strace: list[str], tmp_path: Path) -> None:
    server = launch_server(tmp_path / "data", prefix=strace)
    (traced,) = list_children(server.process.pid)[:1]
    try:
        for number, side in ((1, SMALL), (2, LARGE)):
            stow = make_instance(sop=f"1.2.3.1.1{number}", rows=side, columns=side, fill=number)
            assert store(server.root(), [stow]).status == 200
            c_store = make_instance(
                sop=f"1.2.3.1.2{number}", rows=side, columns=side, fill=number + 2
            )
            assert push(server, c_store) == 0x0000
        os.kill(traced, signal.SIGTERM)
        assert server.process.wait(60) == 0
    finally:
        if server.process.poll() is None:
            os.kill(traced, signal.SIGKILL)
            server.process.wait(60)
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()

    calls = read_trace(tmp_path / "calls.txt")
    stow, c_store = find_appends(calls)
    check_appended(calls, stow, find_stow_answer(calls, stow))
    check_appended(calls, c_store, find_c_store_answer(calls, c_store))
    stow, c_store = find_renames(calls)
    check_adopted(calls, stow, find_stow_answer(calls, stow))
    check_adopted(calls, c_store, find_c_store_answer(calls, c_store))


def test_import_syncs_before_its_commit_line(strace: list[str], tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(make_instance(rows=LARGE, columns=LARGE))
    environ = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    subprocess.run(
        [*strace, sys.executable, "-m", "lamella", "import", str(path)],
        env=environ | {"LAMELLA_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    calls = read_trace(tmp_path / "calls.txt")
    (rename,) = find_renames(calls)
    line = find_first(calls, rename.ended, lambda call: '"stored=1 ' in call.arguments)
    check_adopted(calls, rename, line)


def read_trace(path: Path) -> list[Call]:
    """Return the calls of a trace in the order in which they began."""
    calls: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        found = _LINE.fullmatch(line)
        assert found is not None, line
        pid, rest = found["pid"], found["rest"]
        if _RESUMED.match(rest):
            open_calls.pop(pid).ended = number
        elif call := _CALL.match(rest):
            calls.append(Call(call["name"], call["arguments"], number, number))
            if rest.endswith(_UNFINISHED):
                open_calls[pid] = calls[-1]
    return calls


def find_renames(calls: list[Call]) -> list[Call]:
    """Return the calls that made packs of spool files."""
    return [call for call in calls if call.name.startswith("rename") and ".pack" in call.arguments]


def find_appends(calls: list[Call]) -> list[Call]:
    """Return the calls that wrote to packs, which only growing ones are."""
    return [
        call for call in calls if call.name in WRITES and ".pack>" in call.arguments.split(",")[0]
    ]


def find_stow_answer(calls: list[Call], after: Call) -> Call:
    """Return the first answer to a STOW request that begins after a call."""
    return find_first(calls, after.ended, lambda call: _STOW_ANSWER in call.arguments)


def find_c_store_answer(calls: list[Call], after: Call) -> Call:
    """Return the first answer to a C-STORE that begins after a call."""
    return find_first(
        calls, after.ended, lambda call: call.name in _SENDS and _P_DATA in call.arguments
    )


def find_first(calls: list[Call], line: int, fits: Callable[[Call], bool]) -> Call:
    """Return the first call that fits and begins after a line."""
    found = [call for call in calls if call.begun > line and fits(call)]
    assert found, "the trace shows no answer"
    return found[0]


def check_adopted(calls: list[Call], rename: Call, answer: Call) -> None:
    """See that a spool's bytes, its new name and the rows were synced, in this order."""
    match = _RENAME.search(rename.arguments)
    assert match is not None
    spool = match["source"]
    before = [call for call in calls if call.begun < answer.begun]

    last_write = max(call.ended for call in before if is_on(call, spool, *WRITES))
    assert is_synced(before, spool, last_write, rename.begun)
    check_named(before, match["target"], rename, answer)
    check_rows(before, rename.ended, answer)


def check_appended(calls: list[Call], write: Call, answer: Call) -> None:
    """See that a growing pack, its name and then the rows were synced before the answer."""
    match = _PACK.match(write.arguments)
    assert match is not None
    path = match["path"]
    before = [call for call in calls if call.begun < answer.begun]

    (made,) = (
        call
        for call in before
        if call.name.startswith("open")
        and f'"{path}"' in call.arguments
        and "O_CREAT" in call.arguments
    )
    check_named(before, path, made, answer)
    synced = min(
        call.ended for call in before if is_on(call, path, "fdatasync") and call.begun > write.ended
    )
    check_rows(before, synced, answer)


def check_named(before: list[Call], path: str, naming: Call, answer: Call) -> None:
    """See that the folder that got a new name was synced, and that folder's own name."""
    folder = str(Path(path).parent)
    packs = str(Path(folder).parent)
    assert is_synced(before, folder, naming.ended, answer.begun)
    made = [call for call in before if call.name.startswith("mkdir") and folder in call.arguments]
    for call in made:
        assert is_synced(before, packs, call.ended, answer.begun)


def check_rows(before: list[Call], after: int, answer: Call) -> None:
    """See that rows were written after a line, and synced before the answer."""
    rows = [call for call in before if is_on(call, "lamella.db-wal", "pwrite64")]
    assert any(call.begun > after for call in rows), "no row names the bytes"
    assert is_synced(before, "lamella.db-wal", rows[-1].ended, answer.begun)


def is_on(call: Call, path: str, *names: str) -> bool:
    """Tell whether a call of one of these names is on this open file."""
    return call.name in names and f"{path}>" in call.arguments.split(",")[0]


def is_synced(calls: list[Call], path: str, after: int, before: int) -> bool:
    """Tell whether a file or folder was synced between two lines."""
    return any(
        is_on(call, path, "fsync", "fdatasync") and call.begun > after and call.ended < before
        for call in calls
    )
