"""What a run is asked for: by a command, by the API, by a job, by a rule on commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from lamella.deid.pipeline import describe_engines
from lamella.deid.profiles import BUILT_IN, Profile
from lamella.deid.recipes import read_fields
from lamella.deid.runs import Destination, KeptMaps, Run
from lamella.errors import InvalidRequest, RevisionNotFound
from lamella.settings import Settings
from lamella.vcs.datasets import create_dataset
from lamella.vcs.refs import check_name, find_dataset, read_head
from lamella.vcs.repository import Repository
from lamella.vcs.view import View

if TYPE_CHECKING:
    from lamella.deid.keyring import Keyring

Progress = Callable[[int, int], None]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How something is de-identified, and where to; what is, is said beside it.

    Attributes:
        dataset: The destination.
        branch: Of it; empty for its default branch.
        profile: What is done.
        key: A project, or a key's id; None for the project `default`.
        keeps_map: Whether sealed maps of identifiers are kept.
        message: Of the commit; empty for one that says what it is.
        author: Of the commit.
    """

    dataset: str
    branch: str = ""
    profile: Profile = BUILT_IN["basic"]
    key: str | None = None
    keeps_map: bool = True
    message: str = ""
    author: str


def parse_destination(text: str) -> tuple[str, str]:
    """Return dataset and branch of `DATASET@BRANCH`; of `DATASET` alone, an empty branch.

    Raises:
        InvalidRequest: One of them can be no name.
    """
    dataset, mark, branch = text.partition("@")
    check_name(dataset, "dataset")
    if mark:
        check_name(branch, "branch")
    return dataset, branch


def choose_profile(wanted: str | Mapping[str, Any]) -> Profile:
    """Return a built-in profile by its name, or one of fields as its TOML file has them.

    Raises:
        InvalidRequest: There is no such profile, or the fields make none.
    """
    if not isinstance(wanted, str):
        fields = dict(wanted)
        return read_fields(fields, str(fields.pop("name", "custom")))
    if wanted not in BUILT_IN:
        raise InvalidRequest(
            f"There is no profile {wanted!r}: it is none of {', '.join(BUILT_IN)}."
        )
    return BUILT_IN[wanted]


def open_keyring(settings: Settings) -> Keyring:
    """Return the keyring that settings name."""
    from lamella.deid.keyring import Keyring  # 6 MB that a server without such work does not need

    return Keyring(settings.deid_folder, settings.deid_secret)


def settle(order: Order, settings: Settings) -> Order:
    """Return an order that will mean the same tomorrow: with the id of its key.

    Raises:
        InvalidRequest: The profile needs an engine that is not installed here, where it will run.
        ResourceNotFound: There is no such key.
    """
    if not settings.redis_url:  # else workers do it, who may have others
        describe_engines(order.profile)
    key = open_keyring(settings).find(order.key)
    return msgspec.structs.replace(order, key=key.id)


def open_destination(connection: sa.Connection, order: Order, source: str) -> Destination:
    """Return where an order goes; a dataset that is not there is made.

    Args:
        connection: In a transaction that writes.
        order: Says where.
        source: Name of the source's dataset.

    Raises:
        InvalidRequest: Source and destination are one dataset, or a name will not do.
        RevisionNotFound: The dataset is there, but has no such branch.
    """
    check_apart(order, source)
    try:
        owner = find_dataset(connection, order.dataset)
    except RevisionNotFound:
        first = {"default_branch": order.branch} if order.branch else {}
        owner = create_dataset(connection, order.dataset, **first)
    branch = order.branch or owner.default_branch
    read_head(connection, owner.id, branch)
    return Destination(owner, branch)


def check_apart(order: Order, source: str) -> None:
    """Refuse a destination in the source's dataset.

    Raises:
        InvalidRequest: It is.
    """
    if order.dataset == source:
        raise InvalidRequest(
            "De-identified instances go into a dataset of their own: who may read a dataset "
            "may read all of its branches."
        )


async def prepare(
    repository: Repository,
    settings: Settings,
    source: View,
    order: Order,
    *,
    workers: int = 0,
    niceness: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Run:
    """Return a run that is ready to go.

    Args:
        repository: The installation.
        settings: They name the folder of keys and maps.
        source: What to de-identify.
        order: How, and where to.
        workers: Processes; 0 for one a core.
        niceness: How far they let others go first, 0 to 19.
        on_progress: Told how many are done, and of how many.

    Raises:
        InvalidRequest, ResourceNotFound, RevisionNotFound: The order cannot be met.
    """
    keyring = open_keyring(settings)
    key = await asyncio.to_thread(keyring.find, order.key)
    destination = await repository.archive.database.write(
        lambda c: open_destination(c, order, source.dataset.name)
    )
    maps = None
    if order.keeps_map:
        from lamella.deid.identifier_maps import IdentifierMap

        folder, name = keyring.folder, destination.dataset.name
        maps = KeptMaps(
            IdentifierMap(folder, name, key, "uid"), IdentifierMap(folder, name, key, "patient")
        )
    return Run(
        repository,
        source,
        destination,
        order.profile,
        key,
        author=order.author,
        message=order.message,
        maps=maps,
        workers=workers,
        niceness=niceness,
        on_progress=on_progress,
    )
