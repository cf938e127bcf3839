"""Writing a view as a static tree: what changed since the last run, and nothing else.

Source:
    PS3.18 §10.4 (retrieve) and §10.6 (search): the resources of which this is a part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from lamella.archive.instances import DERIVED_FORMAT
from lamella.archive.upsert import split_batches
from lamella.errors import IntegrityError
from lamella.files.exporter import DestinationInUse, is_file_name
from lamella.files.static.catalog import CatalogWriter
from lamella.files.static.destination import Destination
from lamella.files.static.documents import Librarian
from lamella.files.static.doors import Doors
from lamella.files.static.instances import InstanceWriter
from lamella.files.static.layout import (
    BOUNDARY,
    CATALOG,
    FORMAT,
    JSON_TYPE,
    LEDGER,
    MANIFEST,
)
from lamella.files.static.ledger import Ledger, Plan
from lamella.vcs.repository import Repository
from lamella.vcs.selection import Selected, select
from lamella.vcs.stored import load_documents
from lamella.vcs.tree import Subtree
from lamella.vcs.view import View

INSTANCES_AT_ONCE = 4
FOLDER_FORM = "2."
"""Of what is written of studies and series besides their instances; of an older form it is written
anew, and instances are kept."""


@dataclass(frozen=True, slots=True)
class FailedInstance:
    """An instance that could not be written."""

    path: str
    reason: str


@dataclass(slots=True)
class StaticReport:
    """The sum of a static export.

    Attributes:
        commit_id: The commit that was exported, 64 hex digits.
        written: Instances that were written.
        kept: Instances that were there already.
        removed: Studies, series and instances that went.
    """

    commit_id: str
    written: int = 0
    kept: int = 0
    removed: int = 0
    failed: list[FailedInstance] = field(default_factory=list)

    def describe(self) -> dict[str, object]:
        """Return the report as `--json` shows it."""
        return {
            "commit": self.commit_id,
            "written": self.written,
            "kept": self.kept,
            "removed": self.removed,
            "failed": [{"path": one.path, "reason": one.reason} for one in self.failed],
        }

    def __str__(self) -> str:
        return (
            f"written={self.written} kept={self.kept} removed={self.removed} "
            f"failed={len(self.failed)} commit={self.commit_id}"
        )


Progress = Callable[[int], None]
"""Called with how many more instances are done."""

Manifest = dict[str, Any]
"""What tells readers what an export is."""

Children = Mapping[str, tuple[str, int]]
"""UID → what names a child's content, and how many instances are in it."""


@dataclass(frozen=True, slots=True)
class _Work:
    """How one folder is written.

    Attributes:
        kind: Name of the folder below it that has the children.
        write: Writes a child, given its path, UID and content; tells whether all of it is there.
        finish: Writes the lists of this level.
    """

    kind: str
    write: Callable[[str, str, str], Awaitable[bool]]
    finish: Callable[[], Awaitable[None]]


async def export_static(
    repository: Repository,
    view: View,
    doors: Doors,
    destination: Destination,
    *,
    has_pictures: bool = True,
    on_instances: Progress = lambda count: None,
) -> StaticReport:
    """Make a destination hold a view, whatever it held before of the same dataset.

    Args:
        repository: The installation.
        view: What to export.
        doors: Of the same revision.
        destination: Empty, or what a run before has written, even in part.
        has_pictures: Whether thumbnails and rendered forms are written.
        on_instances: Is told of what is done.

    Returns:
        What was done. Where something failed, the next run tries it again.

    Raises:
        DestinationInUse: The destination holds something else.
        OutOfResources: It is full, or does not answer.
    """
    before = await _check_destination(destination, view)
    run = _Run(
        repository, view, destination, InstanceWriter(repository, destination, doors, has_pictures)
    )
    run.on_instances = on_instances
    await run.write_manifest(await run.describe(is_complete=False))
    if await run.write_studies():
        complete = await run.describe(is_complete=True)
        if before != complete:
            await run.write_index()
        await run.write_manifest(complete)
    return run.report


async def _check_destination(destination: Destination, view: View) -> Manifest:
    """Return the manifest that is there; {} where nothing is."""
    found = await destination.read(MANIFEST)
    if found is None:
        if not await destination.is_empty():
            raise DestinationInUse("The destination holds something else than a static export.")
        return {}
    try:
        manifest = msgspec.json.decode(found, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DestinationInUse("The destination's lamella.json cannot be read.") from error
    if manifest.get("format") != FORMAT or manifest.get("dataset") != view.dataset.name:
        raise DestinationInUse("The destination holds an export of another dataset or format.")
    return manifest


class _Run:
    """One run.

    Attributes:
        report: What was done so far.
        on_instances: Is told of what is done.
    """

    def __init__(
        self,
        repository: Repository,
        view: View,
        destination: Destination,
        instances: InstanceWriter,
    ) -> None:
        self.report = StaticReport(view.commit_id)
        self.on_instances: Progress = lambda count: None
        self._repository = repository
        self._read = repository.archive.database.read
        self._view = view
        self._destination = destination
        self._instances = instances
        self._librarian = Librarian(repository, view, destination)
        self._catalog = CatalogWriter(repository, view, destination)
        self._form = f"{DERIVED_FORMAT}.{int(instances.has_pictures)}."

    async def describe(self, *, is_complete: bool) -> Manifest:
        """Return what tells readers what this is."""
        summary = await self._read(lambda c: self._view.tree(c, self._repository).summary())
        return {
            "format": FORMAT,
            "dataset": self._view.dataset.name,
            "revision": self._view.revision.text,
            "commit": self._view.commit_id,
            "complete": is_complete,
            "boundary": BOUNDARY,
            "series": summary.n_series,
            "instances": summary.n_instances,
            "index": CATALOG,
        }

    async def write_manifest(self, manifest: Manifest) -> None:
        """Write it."""
        await self._instances.write_bytes(MANIFEST, msgspec.json.encode(manifest), JSON_TYPE)

    async def write_index(self) -> None:
        """Write what `S3Client` finds studies and series by."""
        await self._catalog.write_index()

    async def write_studies(self) -> bool:
        """Write all studies; return whether all of it is there now."""

        def list_studies(connection: sa.Connection) -> Children:
            return _list_children(self._view.tree(connection, self._repository).studies())

        work = _Work("studies", self._write_study, self._librarian.write_studies)
        return await self._follow("", self._view.root.hex(), await self._read(list_studies), work)

    async def _write_study(self, path: str, study_uid: str, content: str) -> bool:
        def list_series(connection: sa.Connection) -> Children:
            return _list_children(self._view.tree(connection, self._repository).series(study_uid))

        async def write(child: str, series_uid: str, root: str) -> bool:
            return await self._write_series(child, (study_uid, series_uid), root)

        async def finish() -> None:
            await self._librarian.write_series(path, study_uid)
            await self._write_lists(path, await self._select(study_uid))

        work = _Work("series", write, finish)
        return await self._follow(path, content, await self._read(list_series), work)

    async def _write_series(self, path: str, names: tuple[str, str], content: str) -> bool:
        selected = {one.sop_uid: one for one in await self._select(*names)}

        async def write(child: str, sop_uid: str, _key: str) -> bool:
            return await self._write_instance(child, selected[sop_uid])

        async def finish() -> None:
            await self._write_lists(path, list(selected.values()))
            await self._catalog.write_section(path, content, list(selected.values()))

        children = {uid: (one.key.hex(), 1) for uid, one in selected.items()}
        return await self._follow(path, content, children, _Work("instances", write, finish))

    async def _select(self, *names: str) -> Sequence[Selected]:
        return await self._read(lambda c: select(c, self._repository, self._view, *names))

    async def _write_lists(self, path: str, selected: Sequence[Selected]) -> None:
        await self._librarian.write_instances(path, selected)
        if self._instances.has_pictures:
            await self._instances.write_thumbnail(path)

    async def _write_instance(self, path: str, one: Selected) -> bool:
        dataset_id = self._view.dataset.id
        try:
            documents = await self._read(lambda c: load_documents(c, dataset_id, [one.key]))
            await self._instances.write(path, one.entry, documents[one.key])
        except IntegrityError as error:
            self.report.failed.append(FailedInstance(path, error.detail))
            return False
        self.report.written += 1
        self.on_instances(1)
        return True

    async def _follow(self, path: str, content: str, children: Children, work: _Work) -> bool:
        """Bring one folder to what it is to hold; return whether all of it is there now.

        Args:
            path: Of the folder; '' for all of the export.
            content: What names its content.
            children: What it is to hold.
            work: How.
        """
        name = f"{path}/{LEDGER}" if path else LEDGER
        ledger = Ledger.decode(await self._destination.read(name))
        content = FOLDER_FORM + self._form + content
        if ledger.content == content:
            self._keep(count for _, count in children.values())
            return True
        form = self._form if work.kind == "instances" else FOLDER_FORM + self._form
        wanted = {uid: form + root for uid, (root, _) in children.items()}
        plan = ledger.plan(wanted)
        self._keep(children[uid][1] for uid in plan.same)
        await self._instances.write_bytes(name, plan.begin().encode(), JSON_TYPE)
        below = f"{path}/{work.kind}" if path else work.kind
        for uid in plan.gone:
            await self._destination.remove(f"{below}/{uid}")
            self.report.removed += 1
        missing = await self._write_children(below, plan, children, work)
        await work.finish()
        sure = {uid: one for uid, one in wanted.items() if uid not in missing}
        done = Ledger("" if missing else content, sure, tuple(missing))
        await self._instances.write_bytes(name, done.encode(), JSON_TYPE)
        return not missing

    async def _write_children(
        self, below: str, plan: Plan, children: Children, work: _Work
    ) -> set[str]:
        """Write what changed; return what could not be."""
        missing = set()

        async def write(uid: str) -> None:
            if not await self._write_child(f"{below}/{uid}", uid, children[uid][0], plan, work):
                missing.add(uid)

        at_once = INSTANCES_AT_ONCE if work.kind == "instances" else 1
        for batch in split_batches(plan.changed, at_once):
            try:
                async with asyncio.TaskGroup() as group:
                    for uid in batch:
                        group.create_task(write(uid))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return missing

    async def _write_child(
        self, path: str, uid: str, content: str, plan: Plan, work: _Work
    ) -> bool:
        if not is_file_name(uid):
            self.report.failed.append(FailedInstance(path, "The UID cannot be a file's name."))
            return False
        if uid in plan.known and work.kind == "instances":
            await self._destination.remove(path)  # another version may have had more frames
        return await work.write(path, uid, content)

    def _keep(self, counts: Iterable[int]) -> None:
        count = sum(counts)
        self.report.kept += count
        self.on_instances(count)


def _list_children(found: Iterable[tuple[str, Subtree]]) -> Children:
    return {uid: (one.root.hex(), one.summary.n_instances) for uid, one in found}
