"""Derived data of instances, read for one request."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.dicomweb.pinned import Pinned
from lamella.vcs.selection import Selected
from lamella.vcs.stored import Document, load_documents

BATCH = 200
_DOCUMENT_BYTES = 500  # what one takes besides its text, about


async def read_documents(pinned: Pinned, selected: Sequence[Selected]) -> dict[bytes, Document]:
    """Return the derived data of instances by key."""
    database = pinned.services.repository.archive.database
    keys = [one.key for one in selected]
    return await database.read(lambda c: load_documents(c, pinned.view.dataset.id, keys))


async def read_document(pinned: Pinned, instance: Selected) -> Document:
    """Return the derived data of an instance, which are kept for those that ask for more of it."""
    cache = pinned.services.documents
    name = (pinned.view.dataset.id, instance.key)
    known = cache.get(name)
    if known is None:
        known = (await read_documents(pinned, [instance]))[instance.key]
        cache.put(name, known, len(known.dicom_json) + len(known.frames or b"") + _DOCUMENT_BYTES)
    return known
