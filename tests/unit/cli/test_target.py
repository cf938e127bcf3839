"""Targets: how the command line names a dataset and a revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lamella.archive.installation import open_archive
from lamella.cli.target import Target, open_target, parse_ref, parse_target
from lamella.cli.usage import UsageError
from lamella.errors import RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.datasets import create_dataset, ensure_default
from lamella.vcs.repository import Repository


@pytest.mark.parametrize(
    ("text", "dataset", "expected"),
    [
        (None, None, Target("default", None)),
        (None, "d", Target("d", None)),
        ("d@main", None, Target("d", "main")),
        (
            "d@main@2026-11-01T12:00:00Z",
            None,
            Target("d", "main@2026-11-01T12:00:00Z"),
        ),
        (
            "main@2026-11-01T12:00:00Z",
            "d",
            Target("d", "main@2026-11-01T12:00:00Z"),
        ),
        ("d@v1~2", None, Target("d", "v1~2")),
        ("v1~2", "d", Target("d", "v1~2")),
        ("word", None, Target(None, None, "word")),
    ],
)
def test_targets(text: str | None, dataset: str | None, expected: Target) -> None:
    assert parse_target(text, dataset) == expected


@pytest.mark.parametrize("text", ["@", "@main", "d@"])
def test_half_a_target_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text, None)


def test_names_of_refs() -> None:
    assert parse_ref("v1", None) == ("default", "v1")
    assert parse_ref("v1", "d") == ("d", "v1")
    assert parse_ref("d@v1", None) == parse_ref("d@v1", "d") == ("d", "v1")
    for text, dataset in (("d@", None), ("@v1", None), ("d@v1", "e")):
        with pytest.raises(UsageError):
            parse_ref(text, dataset)


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    archive = await open_archive(Settings(data_dir=tmp_path / "data"))
    try:
        await archive.database.write(ensure_default)
        await archive.database.write(lambda c: create_dataset(c, "d", default_branch="trunk"))
        yield Repository(archive)
    finally:
        await archive.close()


@pytest.mark.parametrize(
    ("text", "dataset", "revision"),
    [
        (None, "default", "main"),
        ("main", "default", "main"),
        ("d", "d", "trunk"),
        ("d@trunk", "d", "trunk"),
        ("default", "default", "main"),
    ],
)
async def test_a_word_is_a_dataset_or_a_revision_of_default(
    repository: Repository, text: str | None, dataset: str, revision: str
) -> None:
    target = parse_target(text, None)
    view = await repository.archive.database.read(lambda c: open_target(c, repository, target))
    assert (view.dataset.name, view.revision.text) == (dataset, revision)


@pytest.mark.parametrize("text", ["nope", "nope@main", "d@main"])
async def test_a_target_that_stands_for_nothing(repository: Repository, text: str) -> None:
    target = parse_target(text, None)
    with pytest.raises(RevisionNotFound):
        await repository.archive.database.read(lambda c: open_target(c, repository, target))
