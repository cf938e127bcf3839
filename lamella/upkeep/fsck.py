"""fsck: everything that was stored is there, and all that is kept about it agrees.

    report = await check(repository, bytes=False, repair=False, progress=show)

Packs and locations come first, since what they lack explains what instances lack; then derived
data, then history from commits to nodes to entries, and at last what is derived from history:
catalog rows, visible sets, indexes of attributes. Each page is a transaction of its own,
so that a server may go on working, and commits that are made meanwhile are left to the next run.
"""

from __future__ import annotations

from lamella.archive.blobs import Blobs
from lamella.archive.derived_cache import DerivedCache
from lamella.dicomweb.renditions import FOLDER as RENDITIONS_FOLDER
from lamella.upkeep.blobs import examine_blobs
from lamella.upkeep.catalog import examine_rows, examine_stray_rows
from lamella.upkeep.commits import History, examine_commits
from lamella.upkeep.derived import examine_derived
from lamella.upkeep.entries import TreeExamination, examine_trees
from lamella.upkeep.examination import Examination
from lamella.upkeep.indexes import examine_indexes
from lamella.upkeep.instances import examine_instances
from lamella.upkeep.locations import examine_locations
from lamella.upkeep.packs import examine_packs
from lamella.upkeep.refs import examine_refs
from lamella.upkeep.rejections import examine_rejections
from lamella.upkeep.report import Kind, Progress, Report
from lamella.upkeep.resume import Bookmark
from lamella.upkeep.seen import Seen
from lamella.upkeep.staged import examine_staged
from lamella.upkeep.trees import TreeWalk
from lamella.upkeep.visible_sets import examine_visible_sets
from lamella.vcs.refs import DatasetRow, list_datasets
from lamella.vcs.repository import Repository


def ignore_progress(_check: str, _count: int) -> None:
    """Show nothing."""


async def check(
    repository: Repository,
    *,
    bytes: bool = False,
    repair: bool = False,
    progress: Progress = ignore_progress,
) -> Report:
    """Examine an installation.

    Args:
        repository: Open; nothing of it is believed that it has cached.
        bytes: Read and hash all stored bytes as well, and parse every instance again. A run
            that was interrupted goes on where it was: see `resume`.
        repair: Mend what is derived: derived data, instance rows, catalog rows, visible sets,
            index entries. Bytes, nodes, commits and refs are never guessed.
        progress: Told how far each check is.

    Raises:
        OutOfResources: The database or the packs cannot be reached.
    """
    archive = repository.archive
    run = Examination(
        archive=archive,
        report=Report(),
        datasets=await archive.database.read(list_datasets),
        rehash=bytes,
        repair=repair,
        progress=progress,
        blobs=Blobs(archive.database, archive.packs),
    )
    await examine_packs(run)
    await examine_locations(run)
    if bytes:
        await _examine_bytes(run)
    else:
        await examine_instances(run)
    for dataset in run.datasets:
        await _examine_history(run, dataset)
    await examine_staged(run)
    if repair:
        # They may hold what was made from damaged rows.
        repository.shelf.clear()
        DerivedCache(archive.cache_folder / RENDITIONS_FOLDER).clear()
    return run.report


async def _examine_bytes(run: Examination) -> None:
    bookmark = Bookmark(run.archive.spool_folder)
    if bookmark.is_continued:
        sentence = (
            "An interrupted run is continued: bytes that it read are not read again, except "
            "where it found damage."
        )
        run.add(Kind.CONTINUED, "fsck --bytes", sentence)
    try:
        await examine_blobs(run, bookmark)
        await examine_instances(run)
        await examine_derived(run, bookmark)
    except BaseException:
        bookmark.save()
        raise
    bookmark.remove()


async def _examine_history(run: Examination, dataset: DatasetRow) -> None:
    rows = await examine_rows(run, dataset)
    history = await examine_commits(run, dataset.id, dataset.name)
    await examine_refs(run, dataset)
    await examine_rejections(run, dataset)
    committed = await _examine_content(run, dataset, history)
    is_complete = await examine_visible_sets(run, dataset, history, rows)
    if is_complete:
        await examine_stray_rows(run, dataset, rows)
    await examine_indexes(run, dataset, rows, committed)


async def _examine_content(run: Examination, dataset: DatasetRow, history: History) -> Seen[bytes]:
    """Walk all trees; return the keys of the instances that they hold.

    What is remembered of each node is forgotten again when this returns.
    """
    trees = TreeExamination(run, dataset, TreeWalk(dataset.id, dataset.name))
    await examine_trees(trees, history.values())
    return trees.committed
