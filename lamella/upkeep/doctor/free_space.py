"""Free space: for the database, for packs, and for what is being received."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from lamella.archive.installation import find_pack_folder
from lamella.settings import Settings
from lamella.upkeep.doctor.data_folder import find_existing
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "free space"
TOO_LITTLE_BYTES = 256 << 20
LITTLE_BYTES = 5 << 30


async def check_free_space(settings: Settings) -> Sequence[CheckResult]:
    """Check the disks of the data folder and of the pack folder."""
    folder = settings.data_dir.absolute()
    folders = map(find_existing, (folder, find_pack_folder(settings, folder) or folder))
    by_disk = {one.stat().st_dev: one for one in folders}
    results = []
    for one in by_disk.values():
        free_bytes = shutil.disk_usage(one).free
        sentence = f"{free_bytes / (1 << 30):.1f} GiB free at {one}."
        if free_bytes < TOO_LITTLE_BYTES:
            results.append(fail_with(NAME, f"Only {sentence} Stores are about to be refused."))
        elif free_bytes < LITTLE_BYTES:
            results.append(warn_with(NAME, f"Only {sentence}"))
        else:
            results.append(pass_with(NAME, sentence))
    return results
