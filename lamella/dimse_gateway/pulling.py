"""Takes what a peer has into a branch: C-FIND tells what is missing here, C-GET brings it.

Where a peer offers no C-GET, it can be asked to C-MOVE to an AE title of this installation, whose
server then stores what comes.

Source:
    PS3.4 §C.4.1 to §C.4.3, Study Root.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import sqlalchemy as sa
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from lamella.archive.part10 import build_file_meta
from lamella.archive.upsert import split_batches
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.background import Background
from lamella.dimse_gateway.calling import MOST_CONTEXTS, Call, Message, Proposal
from lamella.dimse_gateway.carriers import WARNINGS
from lamella.dimse_gateway.commands import (
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    Response,
    build_request,
    build_store_response,
    read_command_field,
    read_response,
    read_store_command,
)
from lamella.dimse_gateway.delivery import Delivery
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.peers import Peer
from lamella.errors import InvalidRequest, PeerUnavailable
from lamella.vcs.repository import Repository
from lamella.vcs.view import read_view

FIND: Final = str(StudyRootQueryRetrieveInformationModelFind)
GET: Final = str(StudyRootQueryRetrieveInformationModelGet)
MOVE: Final = str(StudyRootQueryRetrieveInformationModelMove)
UIDS_AT_A_TIME: Final = 50  # peers bound how long an identifier may be

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_NATIVE = (_EXPLICIT, _IMPLICIT)
_COMPRESSED = (
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.70",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
)
_TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"])
_PENDING = (0xFF00, 0xFF01)

Progress = Callable[[int, int], None]
"""Called with how many instances are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where to pull from.

    Attributes:
        ae_title: By which this installation calls.
        tls: For peers that are spoken to over TLS.
    """

    peer: Peer
    ae_title: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A series of the peer, as far as it is missing here.

    Attributes:
        is_whole: Whether all of it is missing.
        sop_classes: By SOP Instance UID.
    """

    study_uid: str
    series_uid: str
    is_whole: bool
    sop_classes: dict[str, str]


@dataclass(slots=True)
class Outcome:
    """What a pull did.

    Attributes:
        studies: How many matched.
        stored: How many instances came and are kept.
        unchanged: How many were here already.
        failed: How many did not come, or were refused here.
    """

    studies: int = 0
    stored: int = 0
    unchanged: int = 0
    failed: int = 0

    def describe(self) -> dict[str, int]:
        """Return it as `--json` shows it."""
        return {
            "studies": self.studies,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "failed": self.failed,
        }

    def __str__(self) -> str:
        return " ".join(f"{name}={number}" for name, number in self.describe().items())


class Pull:
    """One pull from a peer into a branch.

    Args:
        repository: Where to.
        target: A branch.
        source: Where from.
        progress: Is told of every instance.
        move_to: AE title of ours that the peer shall C-MOVE to; None for C-GET.
    """

    def __init__(
        self,
        repository: Repository,
        target: AeTarget,
        source: Source,
        progress: Progress,
        move_to: str | None = None,
    ) -> None:
        self._repository = repository
        self._target = target
        self._source = source
        self._progress = progress
        self._move_to = move_to
        self._loop = asyncio.get_running_loop()
        self._background = Background()
        self._ask = self._background.ask
        self._depot = Depot(repository, target, source.peer.title)
        self._outcome = Outcome()
        self._total = 0

    async def run(self, keys: Dataset) -> Outcome:
        """Bring what matches and is missing; what came is committed whatever happens.

        Args:
            keys: Of studies.

        Raises:
            PeerUnavailable: The peer is not there, rejects, or breaks off.
            LamellaError: What came cannot be stored or committed.
        """
        view, _ = await read_view(
            self._repository, self._target.dataset, self._target.revision, lambda _c, _v: None
        )
        _ = view.branch  # raises where it is none
        try:
            await self._background.run(lambda: self._pull(keys))
        finally:
            await self._depot.commit()
        return self._outcome

    def _pull(self, keys: Dataset) -> None:
        source = self._source
        proposals = [(FIND, [_EXPLICIT]), (FIND, [_IMPLICIT])]
        with Call(source.peer, source.ae_title, proposals, tls=source.tls) as call:
            finder = Finder(call)
            studies = [str(ds.StudyInstanceUID) for ds in finder.find("STUDY", keys)]
            self._outcome.studies = len(studies)
            wanted = [list(self._compare(finder, study_uid)) for study_uid in studies]
        self._total = sum(len(one.sop_classes) for study in wanted for one in study)
        for study in wanted:
            if study:
                self._bring(study)

    def _compare(self, finder: Finder, study_uid: str) -> Iterator[Wanted]:
        """Yield what of a study is missing here."""
        here = self._ask(self._list_here(study_uid))
        for series in finder.find("SERIES", make_keys(StudyInstanceUID=study_uid)):
            series_uid = str(series.SeriesInstanceUID)
            keys = make_keys(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
            keys.SOPClassUID = ""
            classes = {
                str(ds.SOPInstanceUID): str(ds.get("SOPClassUID", ""))
                for ds in finder.find("IMAGE", keys)
            }
            missing = {uid: name for uid, name in classes.items() if uid not in here}
            self._outcome.unchanged += len(classes) - len(missing)
            if missing:
                yield Wanted(study_uid, series_uid, len(missing) == len(classes), missing)

    async def _list_here(self, study_uid: str) -> set[str]:
        def read(connection: sa.Connection, view: Any) -> set[str]:
            tree = view.tree(connection, self._repository)
            return {
                sop_uid
                for series_uid, _ in tree.series(study_uid)
                for sop_uid, _ in tree.instances(study_uid, series_uid)
            }

        target = self._target
        _, found = await read_view(self._repository, target.dataset, target.revision, read)
        return found

    def _bring(self, wanted: Sequence[Wanted]) -> None:
        source = self._source
        sop_classes = sorted({name for one in wanted for name in one.sop_classes.values() if name})
        proposals: list[Proposal] = [(MOVE if self._move_to else GET, [_EXPLICIT])]
        proposals.append((proposals[0][0], [_IMPLICIT]))
        if not self._move_to:
            for name in sop_classes[: (MOST_CONTEXTS - 2) // 2]:
                proposals += [(name, _NATIVE), (name, _COMPRESSED)]
        receives = () if self._move_to else sop_classes
        with Call(
            source.peer, source.ae_title, proposals, tls=source.tls, receives=receives
        ) as call:
            for one in wanted:
                for keys in _list_requests(one):
                    self._retrieve(call, keys)

    def _retrieve(self, call: Call, keys: Dataset) -> None:
        """Ask for some instances, and store those that come on the same association."""
        field, model = (C_MOVE_RQ, MOVE) if self._move_to else (C_GET_RQ, GET)
        context_id, is_implicit = _find_context(call, model)
        message_id = call.next_message_id()
        command = build_request(field, message_id, model, self._move_to or "")
        call.send(context_id, command, [_encode(keys, is_implicit)])
        syntaxes = {number: uid for (_, uid), number in call.contexts.items()}
        before = self._outcome.stored
        while True:
            self._background.check()
            message, delivery = self._receive(call, syntaxes)
            if delivery is not None:
                self._store(call, message, delivery)
                continue
            response = _read(message)
            if self._move_to:
                self._outcome.stored = before + response.counts.completed + response.counts.warning
                self._tell()
            if response.status not in _PENDING:
                self._outcome.failed += response.counts.failed
                _check(response)
                return

    def _receive(self, call: Call, syntaxes: dict[int, str]) -> tuple[Message, Delivery | None]:
        """Return the next message; of an instance the data set is on its way into the archive."""
        deliveries: list[Delivery] = []

        def open_sink(context_id: int, values: dict[int, bytes]) -> Callable[[memoryview], None]:
            command = read_store_command(values)
            syntax = syntaxes.get(context_id, _IMPLICIT)
            title = self._source.peer.title
            names = command.sop_class_uid, command.sop_instance_uid
            head = build_file_meta(*names, syntax, title)
            delivery = Delivery(self._repository.archive, self._loop, head)
            deliveries.append(delivery)
            return delivery.write

        try:
            message = call.receive(open_sink)
        except BaseException:
            for delivery in deliveries:
                self._ask(delivery.abandon())
            raise
        return message, deliveries[0] if deliveries else None

    def _store(self, call: Call, message: Message, delivery: Delivery) -> None:
        command = read_store_command(message.values)
        answer = self._depot.store(command, delivery, self._ask)
        if answer.status == 0 or answer.status in WARNINGS:
            self._outcome.stored += 1
        self._tell()
        call.send(message.context_id, build_store_response(command, answer))

    def _tell(self) -> None:
        self._progress(self._outcome.stored + self._outcome.failed, self._total)


class Finder:
    """Queries a peer.

    Args:
        call: With a context for Study Root C-FIND.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._context_id, self._is_implicit = _find_context(call, FIND)

    def find(self, level: str, keys: Dataset) -> list[Dataset]:
        """Return what matches at a level.

        Raises:
            PeerUnavailable: The peer does not answer, or cannot.
        """
        asked = Dataset()
        asked.update(keys)
        asked.QueryRetrieveLevel = level
        name = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(level)
        name = name or "SOPInstanceUID"
        if name not in asked:
            setattr(asked, name, "")
        command = build_request(C_FIND_RQ, self._call.next_message_id(), FIND)
        self._call.send(self._context_id, command, [_encode(asked, self._is_implicit)])
        found: list[Dataset] = []
        while True:
            response, identifier = self._call.receive_response()
            if response.status not in _PENDING:
                _check(response)
                return found
            ds = decode(BytesIO(identifier), self._is_implicit, True)
            if ds.get(name):
                found.append(ds)


def parse_keys(texts: Sequence[str]) -> Dataset:
    """Return the keys of a query, given as `Keyword=value`.

    Raises:
        InvalidRequest: One is not, or names no attribute of the dictionary.
    """
    values = {}
    for text in texts:
        keyword, mark, value = text.partition("=")
        if not mark or not value:
            raise InvalidRequest(f"{text!r} is no key: write Keyword=value.")
        values[keyword] = value
    return make_keys(**values)


def make_keys(**values: str) -> Dataset:
    """Return the identifier of a query.

    Raises:
        InvalidRequest: A keyword is none, or its attribute has no text as its value.
    """
    keys = Dataset()
    keys.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        vr = dictionary_VR(tag) if tag is not None else ""
        if tag is None or vr not in _TEXT_VRS:
            raise InvalidRequest(f"{keyword!r} is no attribute that can be asked for.")
        keys.add_new(tag, vr, value)
    return keys


def _list_requests(wanted: Wanted) -> Iterator[Dataset]:
    """Yield identifiers of retrieves that name what is missing of a series."""
    names = {"StudyInstanceUID": wanted.study_uid, "SeriesInstanceUID": wanted.series_uid}
    if wanted.is_whole:
        yield make_keys(QueryRetrieveLevel="SERIES", **names)
        return
    for batch in split_batches(list(wanted.sop_classes), UIDS_AT_A_TIME):
        uids = "\\".join(batch)
        yield make_keys(QueryRetrieveLevel="IMAGE", SOPInstanceUID=uids, **names)


def _find_context(call: Call, model: str) -> tuple[int, bool]:
    """Return the ID of the accepted context for a service, and whether it is of Implicit VR."""
    for syntax in _NATIVE:
        context_id = call.contexts.get((model, syntax))
        if context_id is not None:
            return context_id, syntax == _IMPLICIT
    raise PeerUnavailable(f"The peer does not offer {UID(model).name}.")


def _encode(keys: Dataset, is_implicit: bool) -> bytes:
    encoded: bytes | None = encode(keys, is_implicit, True)
    if encoded is None:
        raise InvalidRequest("The value of a key is not valid for it.")
    return encoded


def _read(message: Message) -> Response:
    try:
        if read_command_field(message.values) == C_STORE_RQ:
            raise PeerUnavailable("The peer sends an instance without a data set.")
        return read_response(message.values)
    except ValueError as error:
        raise PeerUnavailable("The peer does not answer as DICOM.") from error


def _check(response: Response) -> None:
    """Raise what a final status means.

    Raises:
        PeerUnavailable: The peer refuses or fails altogether.
    """
    some_failed, all_failed = 0xB000, 0xA702
    if response.status in (0, some_failed) or (
        response.status == all_failed and response.counts.failed
    ):
        return
    raise PeerUnavailable(f"The peer refuses, with status {response.status:04X}.")
