"""What a dataset does with what comes in.

Under a known UID:

    version    a changed header is a new version, anything else a conflict: the default
    replace    any bytes are a new version, as long as the instance stays in its series
    reject     nothing that is known is ever replaced

A change holds from the next commit on, at every door; what was committed stays. Rules of
coercion, which change instances on their way in, hold from the next request or association on.
"""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.tables import dataset
from lamella.errors import InvalidRequest
from lamella.vcs.coercion_rules import check_policy
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


def set_coercion(connection: sa.Connection, name: str, rules: str) -> DatasetRow:
    """Change what instances are changed by on their way in; return the dataset.

    Args:
        connection: Within a transaction.
        name: The dataset's.
        rules: JSON, see `coercion_rules`; '' for none.

    Raises:
        InvalidRequest: They are no rules.
        RevisionNotFound: There is no such dataset.
    """
    text = check_policy(rules)
    owner = lock_dataset(connection, find_dataset(connection, name).id)
    connection.execute(sa.update(dataset).where(dataset.c.id == owner.id).values(coercion=text))
    return read_dataset(connection, owner.id)
