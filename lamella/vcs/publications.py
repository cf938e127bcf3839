"""What is published: names of indexes, and the packs that they name, which stay for their sake."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from lamella.archive.database import read_clock_us
from lamella.archive.statements import Statement, insert_into
from lamella.archive.tables import pack
from lamella.archive.upsert import split_batches
from lamella.errors import Conflict
from lamella.vcs.refs import DatasetRow, lock_dataset
from lamella.vcs.tables import published, published_pack

_INSERT = insert_into(published)
_INSERT_PACK = Statement(sa.insert(published_pack), ["published_id", "pack_id"])
_FIND_PACKS = Statement(
    sa.select(pack.c.id).where(pack.c.name.in_(sa.bindparam("names", expanding=True)))
)


@dataclass(frozen=True, slots=True)
class Publication:
    """One published index.

    Attributes:
        name: Under which it is found, in its dataset.
        commit_id: 64 hex digits.
        size_bytes: Of the index.
        time_us: When it was written: microseconds since 1970, UTC.
    """

    id: int
    name: str
    commit_id: str
    size_bytes: int
    time_us: int


def list_publications(connection: sa.Connection, dataset_id: int) -> list[Publication]:
    """Return what is published of a dataset, by name, the newest of a name last."""
    query = (
        sa.select(
            published.c.id,
            published.c.name,
            published.c.commit_id,
            published.c.size_bytes,
            published.c.time_us,
        )
        .where(published.c.dataset_id == dataset_id)
        .order_by(published.c.name, published.c.id)
    )
    return [
        Publication(row_id, name, commit_id.hex(), size_bytes, time_us)
        for row_id, name, commit_id, size_bytes, time_us in connection.execute(query)
    ]


def pin_packs(
    connection: sa.Connection,
    owner: DatasetRow,
    name: str,
    commit_id: bytes,
    size_bytes: int,
    pack_names: Collection[str],
) -> int:
    """Note that an index is about to name packs; return the id of the note.

    Raises:
        Conflict: One of them is gone: its bytes have been put elsewhere since they were looked up.
        RevisionNotFound: The dataset was deleted.
    """
    lock_dataset(connection, owner.id)
    ids: list[int] = []
    for batch in split_batches(sorted(pack_names)):
        ids += _FIND_PACKS.fetch_values(connection, {"names": batch})
    if len(ids) != len(pack_names):
        raise Conflict("Packs were rewritten while they were published: try again.")
    row = {
        "dataset_id": owner.id,
        "name": name,
        "commit_id": commit_id,
        "size_bytes": size_bytes,
        "time_us": read_clock_us(connection),
    }
    published_id = _INSERT.run_for_id(connection, row)
    _INSERT_PACK.run_many(
        connection, [{"published_id": published_id, "pack_id": pack_id} for pack_id in ids]
    )
    return published_id


def is_noted(connection: sa.Connection, published_id: int) -> bool:
    """Tell whether a note is still there: another publication of the name may have dropped it."""
    query = sa.select(sa.func.count()).where(published.c.id == published_id)
    return bool(connection.execute(query).scalar_one())


def forget(connection: sa.Connection, dataset_id: int, name: str, besides: int | None) -> int:
    """Forget what is published under a name, so that gc may have its packs; return how many.

    Args:
        besides: Id of the note that stays, if any.
    """
    chosen = sa.and_(published.c.dataset_id == dataset_id, published.c.name == name)
    if besides is not None:
        chosen = sa.and_(chosen, published.c.id < besides)
    ids = sa.select(published.c.id).where(chosen)
    connection.execute(sa.delete(published_pack).where(published_pack.c.published_id.in_(ids)))
    return connection.execute(sa.delete(published).where(chosen)).rowcount
