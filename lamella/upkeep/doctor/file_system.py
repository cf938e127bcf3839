"""The file system: packs rely on fsync, and on rename that replaces in one step."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lamella.archive.installation import find_pack_folder
from lamella.archive.packs.local import sync_folder
from lamella.settings import Settings
from lamella.upkeep.doctor.data_folder import find_existing
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "file system"
MOUNTS = Path("/proc/self/mountinfo")

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
IN_CONTAINER = frozenset({"overlay", "aufs"})
ON_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs"}
)
WITHOUT_RIGHTS = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3"})


async def check_file_system(settings: Settings) -> Sequence[CheckResult]:
    """Check what the data folder and the pack folder lie on."""
    folder = settings.data_dir.absolute()
    folders = dict.fromkeys(
        map(find_existing, (folder, find_pack_folder(settings, folder) or folder))
    )
    return [await asyncio.to_thread(_check_folder, one) for one in folders]


def _check_folder(folder: Path) -> CheckResult:
    kind = read_file_system(folder)
    try:
        _try_rename(folder)
    except OSError as error:
        return fail_with(NAME, f"{folder} ({kind}) does not take files: {error.strerror}.")
    if kind in IN_MEMORY:
        return warn_with(NAME, f"{folder} is in memory ({kind}): nothing survives a restart.")
    if kind in IN_CONTAINER:
        sentence = f"{folder} is a layer of a container ({kind}): mount a volume to keep data."
        return warn_with(NAME, sentence)
    if kind in ON_NETWORK or kind.startswith("fuse"):
        return warn_with(
            NAME,
            f"{folder} is on {kind}: SQLite's locks and fsync may not hold there; use a local disk,"
            " or PostgreSQL with the packs alone on the network.",
        )
    if kind in WITHOUT_RIGHTS:
        return warn_with(NAME, f"{folder} is on {kind}, which cannot keep a power cut from harm.")
    return pass_with(NAME, f"{folder} is on {kind}; fsync and rename work.")


def _try_rename(folder: Path) -> None:
    """Write, sync and rename a file as a pack is, in a folder of its own, which goes again."""
    with tempfile.TemporaryDirectory(prefix=".lamella-doctor-", dir=folder) as trial:
        draft, target = Path(trial) / "draft", Path(trial) / "target"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            os.write(fd, b"lamella")
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(draft, target)
        sync_folder(Path(trial))


def read_file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system a folder lies on, `unknown` where the system does not say.

    Source:
        proc(5), /proc/pid/mountinfo.
    """
    if not mounts.is_file():
        return "unknown"
    best, kind = -1, "unknown"
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind
