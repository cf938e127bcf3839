"""What a dataset does with a store under a known UID.

    version    a changed header is a new version, anything else a conflict: the default
    replace    any bytes are a new version, as long as the instance stays in its series
    reject     nothing that is known is ever replaced

A change holds from the next commit on, at every door; what was committed stays.
"""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.tables import dataset
from lamella.errors import InvalidRequest
from lamella.vcs.refs import DUPLICATES, DatasetRow, find_dataset, lock_dataset, read_dataset


def check_duplicates(duplicates: str) -> None:
    """Refuse what is no policy.

    Raises:
        InvalidRequest: There is no such policy.
    """
    if duplicates not in DUPLICATES:
        raise InvalidRequest(f"The duplicates policy is one of {', '.join(DUPLICATES)}.")


def set_duplicates(connection: sa.Connection, name: str, duplicates: str) -> DatasetRow:
    """Change a dataset's policy; return the dataset.

    Raises:
        InvalidRequest: There is no such policy.
        RevisionNotFound: There is no such dataset.
    """
    check_duplicates(duplicates)
    owner = lock_dataset(connection, find_dataset(connection, name).id)
    connection.execute(
        sa.update(dataset).where(dataset.c.id == owner.id).values(duplicates=duplicates)
    )
    return read_dataset(connection, owner.id)
