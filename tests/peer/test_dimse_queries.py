"""500 generated queries: C-FIND and QIDO-RS find what a plain reading of the data sets finds."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import sleep

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRoot

from lamella.cli.main import main
from tests.harness.server import RunningServer, serve
from tests.harness.stack import list_flags
from tests.peer.instances import make_instance, save_instance

N_QUERIES = 500
LEVELS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}
UNIQUE = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
TAGS = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}
NAMES = ["Doe^John", "Dow^Jane", "Müller^Änne", "Nobody^Ever", "Yamada^Tarou", "Meyer^Anna^Maria"]
TEXTS = {
    "PatientID": [f"P{number}" for number in range(8)] + ["P-1 A", "Q_7"],
    "AccessionNumber": ["A100", "A101", "B100", ""],
    "StudyDescription": ["Head", "Chest CT", "Chest MR", "Abdomen", ""],
    "StudyID": ["1", "11", "2", ""],
    "PatientSex": ["M", "F", ""],
    "SeriesDescription": ["Axial 5.0", "Axial 1.0", "Scout", ""],
    "BodyPartExamined": ["HEAD", "CHEST", ""],
}
STUDY_KEYS = ("PatientID", "AccessionNumber", "StudyDescription", "StudyID", "PatientSex")
SERIES_KEYS = ("SeriesDescription", "BodyPartExamined")
MODALITIES = ["CT", "MR", "PT"]

Test = Callable[[Dataset], bool]


@dataclass(frozen=True)
class Key:
    """A matching key.

    Attributes:
        path: Keywords from the top level down.
        text: As C-FIND has it.
        test: What the standard says of an instance.
    """

    path: tuple[str, ...]
    text: str
    test: Test


def make_collection(rng: random.Random) -> list[Dataset]:
    """Return 24 studies of one to three series of one to three instances."""
    held = []
    for _ in range(24):
        study = {name: rng.choice(TEXTS[name]) for name in STUDY_KEYS}
        study |= {
            "PatientName": rng.choice(NAMES),
            "StudyInstanceUID": generate_uid(),
            "StudyDate": rng.choice(["", *(f"202601{day:02}" for day in range(1, 10))]),
            "StudyTime": f"{rng.randint(0, 23):02}{rng.randint(0, 59):02}{rng.randint(0, 59):02}",
        }
        modalities = [rng.choice(MODALITIES) for _ in range(rng.randint(1, 3))]
        for number, modality in enumerate(modalities):
            series = {name: rng.choice(TEXTS[name]) for name in SERIES_KEYS}
            series |= {"SeriesInstanceUID": generate_uid(), "Modality": modality}
            series_step = Dataset()
            series_step.ScheduledProcedureStepID = f"S{rng.randint(0, 3)}"
            for index in range(rng.randint(1, 3)):
                ds = make_instance(pixels=rng.randbytes(8))
                ds.SpecificCharacterSet = "ISO_IR 192"
                for name, value in {**study, **series}.items():
                    setattr(ds, name, value)
                ds.SeriesNumber, ds.InstanceNumber = number + 1, index + 1
                ds.RequestAttributesSequence = [series_step]
                ds.modalities = frozenset(modalities)
                held.append(ds)
    return held


def has_value(ds: Dataset, name: str) -> bool:
    return str(ds[name].value or "") != ""


def make_text_key(rng: random.Random, ds: Dataset, name: str) -> Key:
    """Return a single value, a wildcard, or the one that matches everything."""
    value = str(ds[name].value or "")
    cut = rng.randint(0, len(value))
    texts = [value, value[:cut] + "*", "*"]
    if value:
        texts += ["?" + value[1:], value[:-1] + "?"]
    if value and name != "PatientName":
        # the end of a name may be that of another name's first component, which matches as well
        texts.append("*" + value[cut:])
    text = rng.choice(texts)
    if text.strip("*") == "":
        return Key((name,), text[:1], lambda one: True)
    if name == "PatientName":
        text = rng.choice([text, text.upper(), text.lower()])
        folded = text.lower()
        return Key(
            (name,), text, lambda one: fnmatch.fnmatchcase(str(one[name].value).lower(), folded)
        )
    return Key((name,), text, lambda one: fnmatch.fnmatchcase(str(one[name].value or ""), text))


def make_range_key(rng: random.Random, ds: Dataset, name: str) -> Key:
    value = str(ds[name].value or "") or {"StudyDate": "20260105", "StudyTime": "120000"}[name]
    other = {
        "StudyDate": f"202601{rng.randint(1, 9):02}",
        "StudyTime": f"{rng.randint(0, 23):02}3000",
    }
    first, last = sorted([value, other[name]])
    kind = rng.randrange(4)
    text = [f"{first}-{last}", f"{first}-", f"-{last}", value][kind]
    low = [first, first, "", value][kind]
    high = [last, "~", last, value][kind]
    return Key(
        (name,),
        text,
        lambda one: has_value(one, name) and low <= str(one[name].value) <= high,
    )


def make_uid_key(rng: random.Random, held: list[Dataset], name: str) -> Key:
    uids = [str(rng.choice(held)[name].value) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        uids.append(str(generate_uid()))
    return Key((name,), "\\".join(uids), lambda one: one[name].value in uids)


def make_number_key(rng: random.Random, ds: Dataset, name: str) -> Key:
    value = int(ds[name].value)
    return Key((name,), str(value), lambda one: int(one[name].value) == value)


def make_sequence_key(rng: random.Random) -> Key:
    wanted = f"S{rng.randint(0, 4)}"
    path = ("RequestAttributesSequence", "ScheduledProcedureStepID")
    return Key(path, wanted, lambda one: one[path[0]].value[0][path[1]].value == wanted)


def make_modality_key(rng: random.Random) -> Key:
    wanted = rng.choice([*MODALITIES, "US"])
    return Key(("ModalitiesInStudy",), wanted, lambda one: wanted in one.modalities)


def make_key(rng: random.Random, held: list[Dataset], level: str) -> Key:
    """Return a key of a level or one above."""
    ds = rng.choice(held)
    makers: list[Callable[[], Key]] = [
        lambda: make_text_key(rng, ds, rng.choice(STUDY_KEYS)),
        lambda: make_text_key(rng, ds, "PatientName"),
        lambda: make_range_key(rng, ds, rng.choice(["StudyDate", "StudyTime"])),
        lambda: make_uid_key(rng, held, "StudyInstanceUID"),
        lambda: make_modality_key(rng),
    ]
    if level != "STUDY":
        makers += [
            lambda: make_text_key(rng, ds, rng.choice(SERIES_KEYS)),
            lambda: make_uid_key(rng, held, "SeriesInstanceUID"),
            lambda: make_number_key(rng, ds, "SeriesNumber"),
            lambda: make_sequence_key(rng),
        ]
    if level == "IMAGE":
        makers += [
            lambda: make_uid_key(rng, held, "SOPInstanceUID"),
            lambda: make_number_key(rng, ds, "InstanceNumber"),
        ]
    return rng.choice(makers)()


def find(association: Association, level: str, keys: list[Key]) -> list[str]:
    asked = Dataset()
    asked.SpecificCharacterSet, asked.QueryRetrieveLevel = "ISO_IR 192", level
    setattr(asked, UNIQUE[level], "")
    for key in keys:
        if len(key.path) == 1:
            setattr(asked, key.path[0], key.text)
        else:
            item = Dataset()
            setattr(item, key.path[1], key.text)
            setattr(asked, key.path[0], [item])
    answers = list(association.send_c_find(asked, StudyRoot))
    assert answers[-1][0].Status == 0x0000
    return [str(ds[UNIQUE[level]].value) for _, ds in answers[:-1] if ds is not None]


def search(client: httpx.Client, server: RunningServer, level: str, keys: list[Key]) -> list[str]:
    parameters = {".".join(key.path): key.text.replace("\\", ",") for key in keys}
    answer = client.get(f"{server.root()}/{LEVELS[level]}", params={**parameters, "limit": "1000"})
    assert answer.is_success, answer.text
    return [one[TAGS[level]]["Value"][0] for one in (answer.json() if answer.content else [])]


@contextmanager
def released(association: Association) -> Iterator[None]:
    """Release an association at the end of a block."""
    yield
    association.release()


@contextmanager
def hold_reactor(association: Association) -> Iterator[None]:
    """Keep pynetdicom's own thread still, which on a busy machine takes an answer for a request.

    It says that it has stopped (`_is_paused`) before it has, so `send_c_find` may go on too early.
    """
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    while not association._is_paused:
        sleep(0.01)
    sleep(0.2)  # until it has stopped
    association._reactor_checkpoint = Event()  # what `send_c_find` sets wakes nobody
    try:
        yield
    finally:
        association._reactor_checkpoint = checkpoint
        checkpoint.set()


@pytest.fixture
def association_of() -> Iterator[Callable[[RunningServer], Association]]:
    def associate(server: RunningServer) -> Association:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = StudyRoot, b"\x01"
        entity = AE(ae_title="SEEKER")
        entity.add_requested_context(StudyRoot)
        association = entity.associate(
            "127.0.0.1", server.dimse_port, ae_title=server.aet, ext_neg=[item]
        )
        assert association.is_established
        holds.enter_context(released(association))
        holds.enter_context(hold_reactor(association))
        return association

    with ExitStack() as holds:
        yield associate


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # patterns are none of CS
def test_500_queries_find_what_plain_reading_finds(
    tmp_path: Path, association_of: Callable[[RunningServer], Association]
) -> None:
    rng = random.Random(500)
    held = make_collection(rng)
    for number, ds in enumerate(held):
        save_instance(ds, tmp_path / "files" / f"{number}.dcm")
    data_dir = tmp_path / "data"
    assert main(["import", str(tmp_path / "files"), *list_flags(data_dir)]) == 0
    sizes: dict[str, set[int]] = {level: set() for level in LEVELS}
    with serve(data_dir) as server, httpx.Client(timeout=60) as client:
        association = association_of(server)
        for number in range(N_QUERIES):
            level = list(LEVELS)[number % 3]
            made = [make_key(rng, held, level) for _ in range(rng.randint(1, 3))]
            keys = list({key.path: key for key in made}.values())
            expected = sorted(
                {str(ds[UNIQUE[level]].value) for ds in held if all(k.test(ds) for k in keys)}
            )
            asked = [(".".join(key.path), key.text) for key in keys]
            assert sorted(find(association, level, keys)) == expected, asked
            assert sorted(search(client, server, level, keys)) == expected, asked
            sizes[level].add(len(expected))
    assert all(len(seen) > 8 for seen in sizes.values())
