"""The pack store: would it take a pack now?"""

from __future__ import annotations

from collections.abc import Sequence

from lamella.archive.installation import find_pack_folder
from lamella.archive.packs.local import LocalPackStore
from lamella.errors import LamellaError
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with
from lamella.upkeep.doctor.s3_bucket import check_bucket

NAME = "packs"


async def check_pack_store(settings: Settings) -> Sequence[CheckResult]:
    """Ask the store that the server would use."""
    try:
        folder = find_pack_folder(settings, settings.data_dir.absolute())
        if folder is None:
            return await check_bucket(settings)
        if not folder.exists():
            return [pass_with(NAME, f"{folder} will be made on the first start.")]
        store = LocalPackStore(folder)
        try:
            await store.check()
        finally:
            await store.close()
    except LamellaError as error:
        return [fail_with(NAME, error.detail)]
    return [pass_with(NAME, f"{folder} takes packs.")]
