"""A dataset's coercion policy at every door: STOW-RS, C-STORE and import."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from tests.harness.collection import (
    FAILED,
    REFERENCED,
    Collection,
    list_reasons,
    make_collection,
    open_client,
)
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve
from tests.peer.dcmtk import run_tool

SOP = "1.2.3.1.1"
COERCED = 0xB000
ISSUER = {"default": {"IssuerOfPatientID": "HOSPITAL A"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("coercion") / "data") as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def collection(client: httpx.Client, server: RunningServer) -> Collection:
    return make_collection(client, server)


def set_rules(collection: Collection, *rules: dict[str, Any]) -> None:
    changed = collection.call("PATCH", "", json={"coercion": rules})
    assert changed["coercion"] == [json.loads(json.dumps(rule)) for rule in rules]


def read(collection: Collection, sop: str = SOP) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(collection.read_file(sop)))


def list_warnings(answer: httpx.Response) -> list[int]:
    items = answer.json()[REFERENCED]["Value"]
    return [item.get("00081196", {}).get("Value", [0])[0] for item in items]


def without(ds: pydicom.Dataset, *keywords: str) -> dict[str, Any]:
    """Return a data set as JSON but for what changed."""
    for keyword in (*keywords, "OriginalAttributesSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    found: dict[str, Any] = ds.to_json_dict(bulk_data_threshold=1 << 30)
    return found


class TestStow:
    def test_a_coerced_instance_says_what_was_there(self, collection: Collection) -> None:
        set_rules(collection, {"upper": ["PatientID"], **ISSUER})
        original = make_instance(patient_id="pat1", fill=5)
        answer = collection.store(original)
        assert answer.status_code == 202
        assert list_warnings(answer) == [COERCED]
        (item,) = answer.json()[REFERENCED]["Value"]
        assert item["00000902"]["Value"] == ["Coerced: PatientID, IssuerOfPatientID."]
        assert FAILED not in answer.json()
        stored = read(collection)
        assert (stored.PatientID, stored.IssuerOfPatientID) == ("PAT1", "HOSPITAL A")
        (change,) = stored.OriginalAttributesSequence
        (old,) = change.ModifiedAttributesSequence
        assert (old.PatientID, old.IssuerOfPatientID) == ("pat1", "")
        assert change.ModifyingSystem == "Lamella"
        assert change.ReasonForTheAttributeModification == "COERCE"
        assert change.SourceOfPreviousValues == "anonymous"
        assert change.AttributeModificationDateTime
        names = ("PatientID", "IssuerOfPatientID")
        came = pydicom.dcmread(io.BytesIO(original))
        assert without(stored, *names) == without(came, *names)
        (found,) = collection.get("/studies?PatientID=PAT1").json()
        assert found["00100020"]["Value"] == ["PAT1"]

    def test_a_repeat_makes_no_commit(self, collection: Collection) -> None:
        set_rules(collection, ISSUER)
        first = collection.store(make_instance())
        again = collection.store(make_instance())
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.headers["lamella-commit"] == first.headers["lamella-commit"]
        # what was coerced needs no more of it
        back = collection.store(collection.read_file(SOP))
        assert back.status_code == 200
        assert back.headers["lamella-commit"] == first.headers["lamella-commit"]

    def test_nothing_to_coerce_changes_no_byte(self, collection: Collection) -> None:
        set_rules(collection, ISSUER, {"where": {"Modality": "MR"}, "set": {"StationName": "X"}})
        original = make_instance(IssuerOfPatientID="HOSPITAL B")
        assert collection.store(original).status_code == 200
        assert collection.read_file(SOP) == original

    def test_without_a_policy_again(self, collection: Collection) -> None:
        set_rules(collection, ISSUER)
        set_rules(collection)
        original = make_instance()
        assert collection.store(original).status_code == 200
        assert collection.read_file(SOP) == original

    def test_the_rules(self, collection: Collection) -> None:
        set_rules(
            collection,
            {"trim": ["StudyDescription"], "map": {"StationName": {"old": "new"}}},
            {"where": {"StationName": "n?w"}, "prefix": {"AccessionNumber": "A-"}},
            {"remove": ["InstitutionName"], "set": {"ImageComments": "one"}},
            {"sender": "dimse:*", "set": {"ImageComments": "two"}},
        )
        attributes = {
            "StudyDescription": "  Head   and  neck ",
            "StationName": "old",
            "AccessionNumber": "17",
            "InstitutionName": "St Mary",
        }
        assert collection.store(make_instance(**attributes)).status_code == 202  # type: ignore[arg-type]
        stored = read(collection)
        assert stored.StudyDescription == "Head and neck"
        assert stored.StationName == "new"
        assert stored.AccessionNumber == "A-17"
        assert stored.ImageComments == "one"
        assert "InstitutionName" not in stored
        old = stored.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert old.InstitutionName == "St Mary"
        assert old.StationName == "old"
        assert old["ImageComments"].is_empty

    def test_a_character_set_for_who_declares_none(self, collection: Collection) -> None:
        set_rules(collection, {"charset": "ISO_IR 101", "upper": ["PatientComments"]})
        original = make_instance(PatientComments="PLACEHOLDER").replace(
            b"PLACEHOLDER ", "łódź Ł ąęź ".encode("iso8859_2").ljust(12)
        )
        assert collection.store(original).status_code == 202
        stored = read(collection)
        assert stored.SpecificCharacterSet == "ISO_IR 101"
        assert stored.PatientComments == "ŁÓDŹ Ł ĄĘŹ"
        old = stored.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert old["SpecificCharacterSet"].is_empty

    def test_new_text_in_the_character_set_of_the_instance(self, collection: Collection) -> None:
        set_rules(collection, {"set": {"InstitutionName": "Żoliborz"}})
        utf8 = make_instance(SpecificCharacterSet="ISO_IR 192")
        assert collection.store(utf8).status_code == 202
        assert read(collection).InstitutionName == "Żoliborz"
        latin = make_instance(sop="1.2.3.1.2", SpecificCharacterSet="ISO_IR 100")
        answer = collection.store(latin)
        assert answer.status_code == 409
        assert list_reasons(answer, "0008119A") == [0xC000]

    def test_earlier_changes_stay_on_record(self, collection: Collection) -> None:
        ds = pydicom.Dataset()
        ds.ModifyingSystem = "ELSEWHERE"
        ds.ModifiedAttributesSequence = [pydicom.Dataset()]
        ds.ModifiedAttributesSequence[0].PatientID = "BEFORE"
        set_rules(collection, ISSUER)
        original = make_instance(OriginalAttributesSequence=[ds])
        assert collection.store(original).status_code == 202
        changes = read(collection).OriginalAttributesSequence
        assert [change.ModifyingSystem for change in changes] == ["ELSEWHERE", "Lamella"]
        assert changes[0].ModifiedAttributesSequence[0].PatientID == "BEFORE"

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("MR_small_implicit.dcm", ExplicitVRLittleEndian),
            ("MR_small_bigendian.dcm", ExplicitVRLittleEndian),
            ("image_dfl.dcm", ExplicitVRLittleEndian),
            ("SC_rgb_rle_2frame.dcm", "1.2.840.10008.1.2.5"),
            ("JPEG2000.dcm", "1.2.840.10008.1.2.4.91"),
        ],
    )
    def test_every_encoding(self, collection: Collection, name: str, kept: str) -> None:
        set_rules(collection, {"set": {"InstitutionName": "ACME"}})
        original = Path(str(get_testdata_file(name))).read_bytes()
        came = pydicom.dcmread(io.BytesIO(original))
        assert collection.store(original).status_code == 202
        stored = read(collection, came.SOPInstanceUID)
        assert stored.InstitutionName == "ACME"
        assert stored.file_meta.TransferSyntaxUID == kept
        if came.file_meta.TransferSyntaxUID.is_compressed and kept != ExplicitVRLittleEndian:
            count = int(came.get("NumberOfFrames", 1))
            frames = [
                list(generate_frames(ds.PixelData, number_of_frames=count)) for ds in (came, stored)
            ]
            assert frames[0] == frames[1]
        else:
            assert (stored.pixel_array == came.pixel_array).all()

    def test_a_long_instance(self, collection: Collection) -> None:
        set_rules(collection, ISSUER)
        original = make_instance(rows=1024, columns=2048, fill=77)
        assert collection.store(original, make_instance(sop="1.2.3.1.2")).status_code == 202
        stored = read(collection)
        assert stored.PixelData == bytes([77]) * (1024 * 2048 * 2)
        assert stored.IssuerOfPatientID == "HOSPITAL A"
        assert read(collection, "1.2.3.1.2").IssuerOfPatientID == "HOSPITAL A"

    def test_what_cannot_be_read_is_refused_as_ever(self, collection: Collection) -> None:
        set_rules(collection, ISSUER)
        answer = collection.store(b"no DICOM", make_instance())
        assert answer.status_code == 202
        assert list_reasons(answer, "0008119A") == [0xC000]
        assert len(collection.get("/instances").json()) == 1


@pytest.mark.parametrize(
    "rules",
    [
        [{"set": {"NoSuchKeyword": "x"}}],
        [{"set": {"StudyInstanceUID": "1.2"}}],
        [{"set": {"NumberOfFrames": "2"}}],
        [{"set": {"SpecificCharacterSet": "ISO_IR 192"}}],
        [{"where": {"Nothing": "x"}}],
        [{"charset": "KOI8"}],
        [{"sett": {}}],
        [{"upper": "PatientID"}],
        {"set": {}},
        "x",
    ],
    ids=range(10),
)
def test_rules_that_are_none(collection: Collection, rules: object) -> None:
    answer = collection.client.patch(collection.api, json={"coercion": rules})
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert collection.call("GET", "")["coercion"] == []


def test_the_command_line(collection: Collection, tmp_path: Path) -> None:
    data_dir, name = collection.server.data_dir, collection.name
    text = json.dumps([ISSUER])
    path = tmp_path / "rules.json"
    path.write_text(text)
    for value in (text, f"@{path}"):
        done = run_cli(data_dir, "dataset", "set", name, f"coercion={value}", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["coercion"] == [ISSUER]
        assert collection.call("GET", "")["coercion"] == [ISSUER]
        done = run_cli(data_dir, "dataset", "set", name, "coercion=")
        assert done.returncode == 0
        assert collection.call("GET", "")["coercion"] == []
    assert run_cli(data_dir, "dataset", "set", name, "coercion=@/nowhere").returncode == 2
    assert run_cli(data_dir, "dataset", "set", name, "coercion=[1]").returncode == 1


def test_import(collection: Collection, tmp_path: Path) -> None:
    set_rules(collection, ISSUER)
    (tmp_path / "a.dcm").write_bytes(make_instance())
    named = make_instance(sop="1.2.3.1.2", IssuerOfPatientID="HOSPITAL A")
    (tmp_path / "b.dcm").write_bytes(named)
    data_dir = collection.server.data_dir
    for outcome in ("stored", "unchanged"):
        done = run_cli(data_dir, "import", str(tmp_path), "-d", collection.name, "--json")
        first, second = json.loads(done.stdout)
        assert (first["outcome"], first["reason"]) == (outcome, "Coerced: IssuerOfPatientID.")
        assert (second["outcome"], second["reason"]) == (outcome, None)
    assert read(collection).IssuerOfPatientID == "HOSPITAL A"
    assert collection.read_file("1.2.3.1.2") == named


async def test_c_store(client: httpx.Client, server: RunningServer, tmp_path: Path) -> None:
    collection = Collection(client, server, "default")
    uid = f"2.25.{secrets.randbelow(10**20)}"
    set_rules(collection, {"sender": "dimse:STATION?", "set": {"StationName": "ROOM 1"}})
    try:
        path = tmp_path / "a.dcm"
        path.write_bytes(make_instance(uid, f"{uid}.1", f"{uid}.1.1"))
        arguments = ("-v", "-aec", "LAMELLA", "127.0.0.1", str(server.dimse_port), str(path))
        other = await run_tool("storescu", "-aet", "OTHER", *arguments)
        assert "Success" in other.output
        assert "StationName" not in read(collection, f"{uid}.1.1")
        for _ in range(2):
            sent = await run_tool("storescu", "-aet", "STATION1", *arguments)
            assert sent.exit_status == 0, sent.output
            assert "Coercion" in sent.output
        stored = read(collection, f"{uid}.1.1")
        assert stored.StationName == "ROOM 1"
        (change,) = stored.OriginalAttributesSequence
        assert change.SourceOfPreviousValues == "dimse:STATION1"
    finally:
        await asyncio.to_thread(set_rules, collection)
