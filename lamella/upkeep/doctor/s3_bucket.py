"""The bucket: is it there for us, is its clock ours, and does a rule of its own touch packs?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lamella.archive.installation import open_packs
from lamella.errors import OutOfResources
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

if TYPE_CHECKING:
    from lamella.archive.packs.s3.bucket import Bucket

NAME = "packs"
TOLERANCE_S = 60
REFUSED_S = 15 * 60
"""From here on S3 refuses what is signed (RequestTimeTooSkewed)."""


async def check_bucket(settings: Settings) -> Sequence[CheckResult]:
    """Look at the bucket that the settings name; nothing is written.

    Raises:
        InvalidRequest: The extra or the credentials are missing, or a URL is wrong.
        OutOfResources: The bucket is not there for us.
    """
    store = await open_packs(settings, settings.data_dir.absolute())
    try:
        from lamella.archive.packs.s3.store import S3PackStore  # its extra is there by now

        assert isinstance(store, S3PackStore)
        theirs = await store.bucket.check()
        return [
            pass_with(NAME, f"{store.place.url} is there."),
            *_compare_clocks(theirs),
            *await _check_versions(store.bucket),
            *await _check_rules(store.bucket, store.place.pack_prefix),
        ]
    finally:
        await store.close()


def _compare_clocks(theirs: datetime) -> list[CheckResult]:
    apart_s = abs((theirs - datetime.now(UTC)).total_seconds())
    sentence = f"S3's clock and this machine's are {apart_s:.0f} s apart."
    if apart_s > REFUSED_S:
        return [fail_with(NAME, sentence)]
    return [warn_with(NAME, sentence)] if apart_s > TOLERANCE_S else []


async def _check_versions(bucket: Bucket) -> list[CheckResult]:
    found = await _ask(bucket, "get_bucket_versioning")
    if found.get("Status") != "Enabled":
        return []
    sentence = (
        "The bucket keeps versions: packs that are deleted, of refused stores or erased, stay as "
        "old versions until a lifecycle rule expires these."
    )
    return [warn_with(NAME, sentence)]


async def _check_rules(bucket: Bucket, pack_prefix: str) -> list[CheckResult]:
    """Look for rules that would delete packs, or move them where they cannot be read at once."""
    found = await _ask(bucket, "get_bucket_lifecycle_configuration")
    harmful = [
        str(rule.get("ID") or "without a name")
        for rule in found.get("Rules", [])
        if rule.get("Status") == "Enabled"
        and ({"Days", "Date"} & set(rule.get("Expiration", {})) or _moves_away(rule))
        and _touches(rule, pack_prefix)
    ]
    return [
        fail_with(NAME, f"The bucket's lifecycle rule {name} takes packs away: exclude them.")
        for name in harmful
    ]


def _moves_away(rule: dict[str, Any]) -> bool:
    classes = {one.get("StorageClass") for one in rule.get("Transitions", [])}
    return bool(classes & {"GLACIER", "DEEP_ARCHIVE"})


def _touches(rule: dict[str, Any], pack_prefix: str) -> bool:
    chosen = rule.get("Filter", {})
    prefix = rule.get("Prefix") or chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or ""
    return pack_prefix.startswith(prefix) or prefix.startswith(pack_prefix)


async def _ask(bucket: Bucket, operation: str) -> dict[str, Any]:
    """Return an answer, empty where the store has no such thing or does not tell us."""
    try:
        return await bucket.call_briefly(operation)
    except OutOfResources:
        return {}
