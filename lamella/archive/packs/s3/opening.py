"""Opening the pack store that the settings describe."""

from __future__ import annotations

from pathlib import Path

from lamella.archive.packs.s3.chunk_cache import ChunkCache
from lamella.archive.packs.s3.place import parse_place
from lamella.archive.packs.s3.store import S3PackStore
from lamella.settings import Settings


def open_s3_store(settings: Settings, cache_folder: Path) -> S3PackStore:
    """Return the store; the bucket is not asked for yet.

    Args:
        settings: Which bucket, and how much of it may be kept here.
        cache_folder: Where that is kept.

    Raises:
        InvalidRequest: A URL is wrong, or there are no credentials.
    """
    place = parse_place(settings.storage_url, settings.s3_endpoint_url)
    limit_bytes = settings.s3_cache_bytes
    return S3PackStore(place, ChunkCache(cache_folder, limit_bytes) if limit_bytes else None)
