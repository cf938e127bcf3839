"""The conflict queue as API and `--json` show it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from lamella.archive.installation import open_archive
from lamella.settings import Settings
from lamella.vcs.conflicts import list_conflicts
from lamella.vcs.datasets import create_dataset
from lamella.vcs.tables import conflict


async def test_the_queue_by_dataset(tmp_path: Path) -> None:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))

    def fill(connection: sa.Connection) -> list[int]:
        owners = [create_dataset(connection, name) for name in ("a", "b")]
        for number, owner in enumerate(owners):
            connection.execute(
                sa.insert(conflict).values(
                    dataset_id=owner.id,
                    branch="main",
                    study_uid="1",
                    series_uid="2",
                    sop_uid=f"3.{number}",
                    key=bytes(32),
                    reason="Other pixels.",
                    head=bytes(32),
                    time_us=1_000_000,
                )
            )
        return [owner.id for owner in owners]

    try:
        _, second = await archive.database.write(fill)
        everything = await archive.database.read(list_conflicts)
        of_second = await archive.database.read(lambda c: list_conflicts(c, second))
    finally:
        await archive.close()
    assert [item.dataset for item in everything] == ["a", "b"]
    assert [item.describe() for item in of_second] == [
        {
            "id": everything[1].id,
            "dataset": "b",
            "branch": "main",
            "study": "1",
            "series": "2",
            "instance": "3.1",
            "reason": "Other pixels.",
            "time": "1970-01-01T00:00:01.000000Z",
        }
    ]
