"""Derived data of instances, read for one request."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.dicomweb.pinned import Pinned
from lamella.vcs.selection import Selected
from lamella.vcs.stored import Document, load_documents

BATCH = 200


async def read_documents(pinned: Pinned, selected: Sequence[Selected]) -> dict[bytes, Document]:
    """Return the derived data of instances by key."""
    database = pinned.services.repository.archive.database
    keys = [one.key for one in selected]
    return await database.read(lambda c: load_documents(c, pinned.view.dataset.id, keys))
