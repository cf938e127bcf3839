"""The data folder: is it Lamella's, of a known format, and can it be written?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lamella.archive.installation import FORMAT
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with

NAME = "data folder"


async def check_data_folder(settings: Settings) -> Sequence[CheckResult]:
    """Check the folder, or where it will be made."""
    folder = settings.data_dir.absolute()
    nearest = find_existing(folder)
    if not nearest.is_dir():
        return [fail_with(NAME, f"{nearest} is not a folder.")]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [fail_with(NAME, f"{nearest} cannot be written by this user.")]
    if nearest != folder:
        return [pass_with(NAME, f"{folder} will be made on the first start.")]
    marker = folder / "format"
    if not marker.is_file():
        is_empty = not any(folder.iterdir())
        if is_empty:
            return [pass_with(NAME, f"{folder} is empty: it will be filled on the first start.")]
        sentence = f"{folder} is not empty and has no `format` file: it is not Lamella's."
        return [fail_with(NAME, sentence)]
    found = marker.read_text(encoding="ascii", errors="replace")
    if found != FORMAT:
        sentence = f"{folder} has format {found.strip()!r}; this version reads {FORMAT.strip()!r}."
        return [fail_with(NAME, sentence)]
    return [pass_with(NAME, f"{folder} has format {FORMAT.strip()!r} and can be written.")]


def find_existing(path: Path) -> Path:
    """Return a path, or the nearest of its parents that there is."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
