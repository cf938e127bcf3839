"""A running server: does one hold this data folder?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, pass_with

NAME = "server"
LOCKS = Path("/proc/locks")


async def check_server(settings: Settings) -> Sequence[CheckResult]:
    """Say whether a server runs on the data folder; either is fine."""
    process_id = find_server(settings.data_dir.absolute())
    if process_id is None:
        return [pass_with(NAME, "No server runs on this data folder.")]
    sentence = f"A server runs on this data folder (process {process_id}); a second one cannot."
    return [pass_with(NAME, sentence)]


def find_server(folder: Path) -> int | None:
    """Return the process that holds a data folder's lock, or None.

    Looking is all: taking the lock for a moment could keep a server from starting just then.

    Source:
        proc(5), /proc/locks.
    """
    try:
        status = (folder / "server.lock").stat()
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None  # never started, or a system that does not list its locks
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    target = f"{major:02x}:{minor:02x}:{status.st_ino}"
    for line in lines:
        fields = line.split()
        if target in fields and "FLOCK" in fields and "->" not in fields:
            return int(fields[fields.index(target) - 1])
    return None
