"""What a store means where its UIDs are known: through STOW-RS, storescu and import alike."""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.harness.collection import (
    OTHER_FAILURES,
    REFERENCED,
    RETRIEVE_URL,
    Collection,
    join_parts,
    list_reasons,
    list_uids,
    make_collection,
    open_client,
)
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve
from tests.harness.stack import run_statement
from tests.peer.dcmtk import Finished, run_tool

STUDY, SERIES, SOP = "1.2.3", "1.2.3.1", "1.2.3.1.1"
CONFLICT = 0x0111
N_CLIENTS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("store") / "data") as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client() as opened:
        yield opened


@pytest.fixture
def collection(client: httpx.Client, server: RunningServer) -> Collection:
    return make_collection(client, server)


def list_conflicts(collection: Collection) -> list[dict[str, Any]]:
    """Return the conflict queue of a dataset."""
    found: list[dict[str, Any]] = collection.call("GET", "/conflicts")
    return found


def reencode(data: bytes, transfer_syntax: str) -> bytes:
    """Return an uncompressed instance in another transfer syntax, with other file meta."""
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta.ImplementationVersionName = "ELSEWHERE"
    ds.preamble = b"II*\0" + bytes(124)
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        ds,
        implicit_vr=transfer_syntax == ImplicitVRLittleEndian,
        little_endian=transfer_syntax != ExplicitVRBigEndian,
        force_encoding=True,
    )
    return buffer.getvalue()


CONFLICTING = {
    "pixels": {"fill": 9},
    "patient": {"patient_id": "SOMEONE-ELSE"},
    "issuer": {"IssuerOfPatientID": "HOSPITAL B"},
    "series": {"series": "1.2.3.77"},
    "study": {"study": "1.2.77", "series": "1.2.77.1"},
    "SOP class": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
    "study of another patient": {"sop": "1.2.3.1.555", "patient_id": "SOMEONE-ELSE"},
}


class TestSame:
    def test_a_repeat_makes_no_commit(self, collection: Collection) -> None:
        head = collection.store_well(make_instance())
        again = collection.store(make_instance())
        assert again.status_code == 200
        assert again.headers["lamella-commit"] == head == collection.head()
        assert list_uids(again, REFERENCED) == [SOP]
        assert len(collection.log()) == 2

    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian]
    )
    def test_another_encoding_is_the_same(self, collection: Collection, syntax: str) -> None:
        first = make_instance(SeriesDescription="x", fill=7)
        head = collection.store_well(first)
        other = reencode(first, syntax)
        assert other != first
        assert collection.store_well(other) == head
        assert collection.read_file(SOP) == first, "the first bytes stay"

    def test_twice_in_one_request_is_once(self, collection: Collection) -> None:
        answer = collection.store(make_instance(), make_instance())
        assert answer.status_code == 200
        assert len(collection.get("/instances").json()) == 1
        assert len(collection.log()) == 2

    def test_a_store_of_nothing_new_and_something_new_is_one_commit(
        self, collection: Collection
    ) -> None:
        collection.store_well(make_instance())
        collection.store_well(make_instance(), make_instance(sop="1.2.3.1.2"))
        assert len(collection.log()) == 3


class TestVersion:
    def test_a_changed_header_is_a_new_version(self, collection: Collection) -> None:
        old_file = make_instance(SeriesDescription="before")
        new_file = make_instance(SeriesDescription="after")
        old, new = collection.store_well(old_file), collection.store_well(new_file)
        assert old != new == collection.head()
        for revision, data, text in ((old, old_file, "before"), (new, new_file, "after")):
            assert collection.read_file(SOP, revision) == data
            path = f"/studies/{STUDY}/series/{SERIES}/instances/{SOP}"
            (metadata,) = collection.get(f"{path}/metadata", revision).json()
            assert metadata["0008103E"]["Value"] == [text]
            (series,) = collection.get("/series?includefield=SeriesDescription", revision).json()
            assert series["0008103E"]["Value"] == [text]
            (found,) = collection.get(f"/series?SeriesDescription={text}", revision).json()
            assert found["00201209"]["Value"] == [1]
        assert collection.get("/series?SeriesDescription=before", new).json() == []
        assert list_conflicts(collection) == []

    def test_a_version_and_its_return(self, collection: Collection) -> None:
        first = make_instance(SeriesDescription="a")
        one = collection.store_well(first)
        two = collection.store_well(make_instance(SeriesDescription="b"))
        three = collection.store_well(first)
        assert len({one, two, three}) == 3
        trees = {commit["id"]: commit["tree"] for commit in collection.log()}
        assert trees[one] == trees[three] != trees[two]
        diff = collection.call("GET", f"/diff?from={one}&to={three}")
        assert (diff["added"], diff["removed"], diff["changed"]) == ([], [], [])


class TestConflict:
    @pytest.mark.parametrize("what", CONFLICTING)
    def test_head_and_bytes_stay(self, collection: Collection, what: str, tmp_path: Path) -> None:
        first = make_instance()
        head = collection.store_well(first)
        intruder = make_instance(**CONFLICTING[what])  # type: ignore[arg-type]
        answer = collection.store(intruder)
        assert answer.status_code == 409
        assert list_reasons(answer) == [CONFLICT]
        assert REFERENCED not in answer.json()
        assert answer.headers["lamella-commit"] == head == collection.head()
        assert collection.read_file(SOP) == first
        (waiting,) = list_conflicts(collection)
        ds = pydicom.dcmread(io.BytesIO(intruder))
        assert (waiting["study"], waiting["series"], waiting["instance"]) == (
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
            ds.SOPInstanceUID,
        )
        assert waiting["branch"] == "main"
        assert "SOMEONE" not in json.dumps(waiting), "no patient values"
        assert collection.store(intruder).status_code == 409
        assert len(list_conflicts(collection)) == 1, "the same bytes wait once"

    def test_the_command_line_shows_the_queue(self, collection: Collection) -> None:
        collection.store_well(make_instance())
        assert collection.store(make_instance(fill=1)).status_code == 409
        data_dir = collection.server.data_dir
        done = run_cli(data_dir, "conflicts", "-d", collection.name, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == list_conflicts(collection)

    def test_the_good_go_in_beside_the_conflicting(self, collection: Collection) -> None:
        collection.store_well(make_instance())
        answer = collection.store(make_instance(fill=1), make_instance(sop="1.2.3.1.2"))
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == ["1.2.3.1.2"]
        assert list_reasons(answer) == [CONFLICT]
        assert collection.log()[0]["id"] == answer.headers["lamella-commit"]

    def test_within_one_request_too(self, collection: Collection) -> None:
        answer = collection.store(
            make_instance(), make_instance(sop="1.2.3.1.2", patient_id="SOMEONE-ELSE")
        )
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert list_reasons(answer) == [CONFLICT]

    def test_what_was_deleted_by_nobody_is_known_on_its_branch_only(
        self, collection: Collection
    ) -> None:
        first = collection.head()
        collection.store_well(make_instance())
        assert collection.make_ref("branches", "empty", first).status_code == 201
        collection.store_well(make_instance(fill=5, patient_id="P2"), revision="empty")
        assert collection.read_file(SOP, "main") == make_instance()
        assert collection.read_file(SOP, "empty") == make_instance(fill=5, patient_id="P2")


class TestPolicies:
    def test_replace_takes_any_bytes_in_the_same_series(
        self, client: httpx.Client, server: RunningServer
    ) -> None:
        collection = make_collection(client, server, "replace")
        old = collection.store_well(make_instance())
        other = make_instance(fill=3, patient_id="P2")
        new = collection.store_well(other)
        assert (collection.read_file(SOP, old), collection.read_file(SOP)) == (
            make_instance(),
            other,
        )
        (study,) = collection.get("/studies").json()
        assert study["00100020"]["Value"] == ["P2"]
        assert collection.store(make_instance(series="1.2.3.9")).status_code == 409
        assert collection.head() == new

    def test_reject_takes_no_version(self, client: httpx.Client, server: RunningServer) -> None:
        collection = make_collection(client, server, "reject")
        head = collection.store_well(make_instance())
        answer = collection.store(make_instance(SeriesDescription="changed"))
        assert (answer.status_code, list_reasons(answer)) == (409, [CONFLICT])
        assert collection.store(make_instance()).status_code == 200
        assert collection.head() == head
        assert len(list_conflicts(collection)) == 1

    def test_a_policy_that_is_none(self, client: httpx.Client, server: RunningServer) -> None:
        url = f"{server.http}/api/v1/datasets"
        refused = client.post(url, json={"name": "x1", "duplicates": "whatever"})
        assert refused.status_code == 400


class TestRequests:
    def test_the_answer_to_a_store(self, collection: Collection) -> None:
        answer = collection.store(make_instance(), make_instance(sop="1.2.3.1.2"))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/dicom+json")
        body = answer.json()
        assert body.keys() == {RETRIEVE_URL, REFERENCED}
        for item in body[REFERENCED]["Value"]:
            assert item[RETRIEVE_URL]["vr"] == "UR"
            (url,) = item[RETRIEVE_URL]["Value"]
            assert collection.client.get(f"{url}/metadata").status_code == 200
        assert collection.client.get(body[RETRIEVE_URL]["Value"][0]).status_code == 200

    @pytest.mark.parametrize("garbage", [b"garbage", b"", bytes(200), bytes(128) + b"DICM" * 9])
    def test_one_good_part_and_one_of_garbage(self, collection: Collection, garbage: bytes) -> None:
        answer = collection.store(garbage, make_instance())
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert len(list_reasons(answer, OTHER_FAILURES)) == 1
        only = collection.store(garbage)
        assert only.status_code == 409
        assert only.json().keys() == {OTHER_FAILURES}

    @pytest.mark.parametrize("is_quoted", [True, False])
    @pytest.mark.parametrize(
        "part_type",
        [
            "application/dicom",
            "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
            'application/dicom; transfer-syntax="1.2.840.10008.1.2.1"',
            "APPLICATION/DICOM",
        ],
    )
    def test_parameters(self, collection: Collection, is_quoted: bool, part_type: str) -> None:
        content_type, body = join_parts([make_instance()], part_type=part_type, is_quoted=is_quoted)
        assert post(collection, body, content_type).status_code == 200
        assert collection.read_file(SOP) == make_instance()

    def test_preamble_epilogue_and_bare_parts(self, collection: Collection) -> None:
        content_type, body = join_parts([make_instance()])
        around = b"a preamble\r\n" + body + b"and an epilogue"
        assert post(collection, around, content_type).status_code == 200
        boundary = secrets.token_hex(8)
        bare = f"--{boundary}\r\n\r\n".encode() + make_instance(sop="1.2.3.1.2") + b"\r\n"
        bare += f"--{boundary}--".encode()
        kind = f"multipart/related; type=application/dicom; boundary={boundary}"
        assert post(collection, bare, kind).status_code == 200
        assert len(collection.get("/instances").json()) == 2

    def test_a_chunked_body(self, collection: Collection) -> None:
        content_type, body = join_parts([make_instance(), make_instance(sop="1.2.3.1.2")])
        pieces = (body[start : start + 7] for start in range(0, len(body), 7))
        answer = collection.client.post(
            f"{collection.root()}/studies", content=pieces, headers={"Content-Type": content_type}
        )
        assert answer.status_code == 200
        assert collection.read_file("1.2.3.1.2") == make_instance(sop="1.2.3.1.2")

    def test_a_single_part(self, collection: Collection) -> None:
        assert post(collection, make_instance(), "application/dicom").status_code == 200
        assert collection.read_file(SOP) == make_instance()

    def test_instances_of_another_study(self, collection: Collection) -> None:
        stranger = make_instance("1.2.4", "1.2.4.1", "1.2.4.1.1")
        answer = collection.store(stranger, make_instance(), study=STUDY)
        assert answer.status_code == 202
        assert list_uids(answer, REFERENCED) == [SOP]
        assert list_reasons(answer) == [0xC000]
        assert [s["0020000D"]["Value"] for s in collection.get("/studies").json()] == [[STUDY]]
        assert collection.store(stranger, study=STUDY).status_code == 409

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "application/json",
            "multipart/form-data; boundary=x",
            'multipart/related; type="image/jpeg"; boundary=x',
        ],
    )
    def test_other_media_types(self, collection: Collection, content_type: str) -> None:
        body = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--"
        assert post(collection, body, content_type).status_code == 415

    def test_requests_that_hold_nothing(self, collection: Collection) -> None:
        head = collection.head()
        kind = 'multipart/related; type="application/dicom"; boundary=x'
        for body in (b"", b"--x--\r\n", b"no boundary at all", b"--x\r\n"):
            assert post(collection, body, kind).status_code == 400, body
        no_boundary = 'multipart/related; type="application/dicom"'
        assert post(collection, b"--x--", no_boundary).status_code in (400, 415)
        assert collection.head() == head

    @pytest.mark.parametrize("share", [0.4, 0.6, 0.95])
    def test_a_truncated_body_stores_nothing(self, collection: Collection, share: float) -> None:
        head = collection.head()
        content_type, body = join_parts([make_instance(sop=f"1.2.3.1.{n}") for n in (1, 2, 3)])
        answer = post(collection, body[: int(len(body) * share)], content_type)
        assert answer.status_code == 400
        assert collection.head() == head
        assert collection.get("/instances").json() == []
        assert count_staged(collection) == 0


class TestStorescu:
    """Against `default@main`, where the AE title leads: UIDs are each test's own."""

    @pytest.fixture
    def default(self, client: httpx.Client, server: RunningServer) -> Collection:
        return Collection(client, server, "default")

    @pytest.fixture
    def uid(self) -> str:
        return f"2.25.{secrets.randbelow(10**20)}"

    async def send(self, server: RunningServer, folder: Path, *options: str) -> Finished:
        return await run_tool(
            "storescu", "-v", "-aec", "LAMELLA", "+sd", *options, "127.0.0.1",
            str(server.dimse_port), str(folder),
        )  # fmt: skip

    def write(self, folder: Path, *files: bytes) -> Path:
        folder.mkdir()
        for number, data in enumerate(files):
            (folder / f"{number}.dcm").write_bytes(data)
        return folder

    def make(self, uid: str, number: int = 1, **attributes: Any) -> bytes:
        return make_instance(uid, f"{uid}.1", f"{uid}.1.{number}", **attributes)

    async def test_a_repeat_after_an_import(
        self, default: Collection, tmp_path: Path, uid: str
    ) -> None:
        folder = self.write(tmp_path / "in", self.make(uid), self.make(uid, 2))
        done = await asyncio.to_thread(run_cli, default.server.data_dir, "import", str(folder))
        assert done.stdout.splitlines()[-1].startswith("stored=2 unchanged=0 conflicts=0 refused=0")
        head = default.head()
        for option in ("-xe", "-xi", "-xb", "-x="):
            sent = await self.send(default.server, folder, option)
            assert sent.exit_status == 0, sent.output
            assert sent.output.count("Received Store Response (Success)") == 2
        assert default.store(self.make(uid)).status_code == 200
        assert default.head() == head
        assert default.read_file(f"{uid}.1.1") == self.make(uid)

    async def test_implicit_and_explicit_first(
        self, default: Collection, tmp_path: Path, uid: str
    ) -> None:
        folder = self.write(tmp_path / "in", self.make(uid, fill=200))
        assert (await self.send(default.server, folder, "-xi")).exit_status == 0
        head = default.head()
        stored = default.read_file(f"{uid}.1.1")
        assert pydicom.dcmread(io.BytesIO(stored)).file_meta.TransferSyntaxUID == (
            ImplicitVRLittleEndian
        )
        assert (await self.send(default.server, folder, "-xe")).exit_status == 0
        assert default.store(self.make(uid, fill=200)).status_code == 200
        assert default.head() == head
        assert default.read_file(f"{uid}.1.1") == stored

    async def test_a_changed_header_is_a_version(
        self, default: Collection, tmp_path: Path, uid: str
    ) -> None:
        old = default.store_well(self.make(uid, SeriesDescription="before"))
        folder = self.write(tmp_path / "in", self.make(uid, SeriesDescription="after"))
        assert (await self.send(default.server, folder)).exit_status == 0
        new = default.head()
        assert default.log()[0]["parents"] == [old]
        for revision, text in ((old, "before"), (new, "after")):
            path = f"/series?StudyInstanceUID={uid}&includefield=SeriesDescription"
            (series,) = default.get(path, revision).json()
            assert series["0008103E"]["Value"] == [text]

    @pytest.mark.parametrize("what", ["pixels", "patient", "series"])
    async def test_conflicts_are_refused(
        self, default: Collection, tmp_path: Path, uid: str, what: str
    ) -> None:
        head = default.store_well(self.make(uid))
        attributes: dict[str, Any] = {
            "pixels": {"fill": 9},
            "patient": {"patient_id": "OTHER"},
            "series": {"SeriesInstanceUID": f"{uid}.7"},
        }[what]
        folder = self.write(tmp_path / "in", self.make(uid, **attributes))
        sent = await self.send(default.server, folder)
        assert re.search(r"Store Response \(.*0x0?111\)|Duplicate", sent.output), sent.output
        assert default.head() == head
        waiting = [c for c in default.call("GET", "/conflicts") if c["study"] == uid]
        assert len(waiting) == 1

    async def test_a_study_of_two_patients_in_one_association(
        self, default: Collection, tmp_path: Path, uid: str
    ) -> None:
        folder = self.write(tmp_path / "in", self.make(uid), self.make(uid, 2, patient_id="OTHER"))
        sent = await self.send(default.server, folder, "-nh")
        assert sent.output.count("Received Store Response (Success)") == 1, sent.output
        assert len(default.get(f"/studies/{uid}/instances").json()) == 1


class TestRaces:
    def test_many_clients_store_the_same_uids(self, collection: Collection) -> None:
        files = [
            [
                make_instance(sop=f"1.2.3.1.{n}", rows=64, columns=64, StudyDescription=f"c{who}")
                for n in range(1, 6)
            ]
            for who in range(N_CLIENTS)
        ]

        def send(who: int) -> httpx.Response:
            with open_client() as own:
                return Collection(own, collection.server, collection.name).store(*files[who])

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            answers = list(pool.map(send, range(N_CLIENTS)))
        assert {answer.status_code for answer in answers} == {200}
        self.check_history(collection, [a.headers["lamella-commit"] for a in answers])
        winner = {collection.read_file(f"1.2.3.1.{n}") for n in range(1, 6)}
        assert any(winner == set(own) for own in files), "the last request's, and whole"
        for who, answer in enumerate(answers):
            for n, data in enumerate(files[who], start=1):
                revision = answer.headers["lamella-commit"]
                assert collection.read_file(f"1.2.3.1.{n}", revision) == data

    def test_conflicting_clients_leave_one_whole_instance(self, collection: Collection) -> None:
        files = [make_instance(fill=who, rows=64, columns=64) for who in range(N_CLIENTS)]

        def send(who: int) -> int:
            with open_client() as own:
                return (
                    Collection(own, collection.server, collection.name)
                    .store(files[who])
                    .status_code
                )

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            statuses = list(pool.map(send, range(N_CLIENTS)))
        assert sorted(statuses) == [200] + [409] * (N_CLIENTS - 1)
        assert collection.read_file(SOP) == files[statuses.index(200)]
        assert len(collection.log()) == 2
        assert len(collection.call("GET", "/conflicts")) == N_CLIENTS - 1

    def test_only_one_condition_holds(self, collection: Collection) -> None:
        head = collection.head()

        def send(who: int) -> int:
            with open_client() as own:
                return (
                    Collection(own, collection.server, collection.name)
                    .store(make_instance(sop=f"1.2.3.{who}"), headers={"If-Match": f'"{head}"'})
                    .status_code
                )

        with ThreadPoolExecutor(N_CLIENTS) as pool:
            statuses = list(pool.map(send, range(N_CLIENTS)))
        assert sorted(statuses) == [200] + [412] * (N_CLIENTS - 1)
        assert len(collection.log()) == 2
        assert count_staged(collection) == 0

    def check_history(self, collection: Collection, made: list[str]) -> None:
        log = collection.log()
        ids = [commit["id"] for commit in log]
        assert set(made) <= set(ids)
        assert len(ids) == len(set(ids)) <= N_CLIENTS + 1
        for commit, parent in pairwise(log):
            assert commit["parents"] == [parent["id"]]
            assert commit["time"] > parent["time"]
        assert log[-1]["parents"] == []


def post(collection: Collection, body: bytes, content_type: str) -> httpx.Response:
    """Send a store request with this very body."""
    url = f"{collection.root()}/studies"
    return collection.client.post(url, content=body, headers={"Content-Type": content_type})


def count_staged(collection: Collection) -> int:
    """Return how many instances wait for a commit in the server's database."""
    query = "SELECT (SELECT count(*) FROM staged) + (SELECT count(*) FROM session)"
    ((n_staged,),) = run_statement(collection.server.data_dir, query)
    return int(n_staged)
