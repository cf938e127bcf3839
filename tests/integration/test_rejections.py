"""Rejection notes (IHE IOCM): what they hide where, what comes of it later, and lifting."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pynetdicom import AE

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.rejection_notes import make_note
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

STUDY = "1.2.3"
FIRST, SECOND, OTHER = ("1.2.3.1", "1.2.3.1.1"), ("1.2.3.1", "1.2.3.1.2"), ("1.2.3.2", "1.2.3.2.1")
NOTE = ("1.2.3.99", "1.2.3.99.1")
ALL = [FIRST, SECOND, OTHER]
HEAD_ONLY, EVERYWHERE = ("113001", "113039"), ("113037", "113038")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("rejections") / "data") as running:
        yield running
    checked = run_cli(running.data_dir, "fsck", "--bytes")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        made = make_collection(client, server)
        made.store_well(*map(make_slice, ALL))
        yield made


def make_slice(names: tuple[str, str], text: str = "") -> bytes:
    """Return an instance whose series description tells which it is."""
    series, sop = names
    number = int(sop.rpartition(".")[2])
    description = text or f"of {sop}"
    return make_instance(
        STUDY, series, sop, fill=number, SeriesDescription=description, InstanceNumber=number
    )


def note(code: str, *names: tuple[str, str], **options: object) -> bytes:
    """Return a note that rejects instances of the study."""
    return make_note(code, [(STUDY, *one) for one in names], **options)  # type: ignore[arg-type]


def reject(collection: Collection, code: str, *names: tuple[str, str]) -> str:
    """Store a note; return the commit that it makes."""
    return collection.store_well(note(code, *names))


def list_held(collection: Collection, revision: str = "main") -> list[tuple[str, str]]:
    found = collection.get("/instances", revision).json()
    return sorted((one["0020000E"]["Value"][0], one["00080018"]["Value"][0]) for one in found)


def path_of(names: tuple[str, str]) -> str:
    return f"/studies/{STUDY}/series/{names[0]}/instances/{names[1]}"


def lift(collection: Collection, rejection_id: int, **headers: str) -> httpx.Response:
    url = f"{collection.api}/rejections/{rejection_id}/lift"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return collection.client.post(url, headers=sent)


def ask_everything(collection: Collection, names: tuple[str, str], revision: str) -> dict[str, int]:
    """Return the status of every resource of an instance at a revision."""
    series, sop = names
    ends = ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010")
    asked = {end: collection.get(path_of(names) + end, revision).status_code for end in ends}
    query = f"requestType=WADO&studyUID={STUDY}&seriesUID={series}&objectUID={sop}"
    uri = f"/wado?{query}&contentType=application/dicom"
    asked["wado"] = collection.get(uri, revision).status_code
    file = f"{collection.api}/instances/{sop}/file?revision={revision}"
    asked["file"] = collection.client.get(file).status_code
    return asked


class TestAtHead:
    @pytest.mark.parametrize("code", [*HEAD_ONLY, *EVERYWHERE])
    def test_one_commit_takes_in_the_note_and_takes_out_the_rest(
        self, collection: Collection, code: str
    ) -> None:
        before = collection.head()
        made = reject(collection, code, FIRST, OTHER)
        log = collection.log()
        assert (log[0]["id"], log[0]["parents"], len(log)) == (made, [before], 3)
        assert log[0]["message"] == "Store 1 instance, Reject 2 instances"
        assert list_held(collection) == [SECOND, NOTE]
        (study,) = collection.get("/studies").json()
        assert study["00201208"]["Value"] == [2]
        assert sorted(study["00080061"]["Value"]) == ["CT", "KO"]
        found = collection.get("/series?includefield=SeriesDescription&Modality=CT").json()
        assert [one["0008103E"]["Value"] for one in found] == [["of 1.2.3.1.2"]]
        status = 410 if code in EVERYWHERE else 404
        assert set(ask_everything(collection, FIRST, "main").values()) == {status}
        assert collection.get(f"/studies/{STUDY}/series/1.2.3.2").status_code == status

    @pytest.mark.parametrize("code", HEAD_ONLY)
    def test_old_commits_keep_what_was_rejected_at_head(
        self, collection: Collection, code: str
    ) -> None:
        before = collection.head()
        reject(collection, code, FIRST)
        assert list_held(collection, before) == ALL
        assert set(ask_everything(collection, FIRST, before).values()) == {200}

    @pytest.mark.parametrize(("code", "scheme"), [("113000", "DCM"), ("113001", "99LOCAL")])
    def test_other_titles_reject_nothing(
        self, collection: Collection, code: str, scheme: str
    ) -> None:
        collection.store_well(note(code, FIRST, scheme=scheme))
        assert list_held(collection) == [*ALL, NOTE]
        assert collection.call("GET", "/rejections") == []

    def test_only_what_the_content_means(self, collection: Collection) -> None:
        collection.store_well(note("113001", FIRST, SECOND, meant=[SECOND[1]]))
        assert list_held(collection) == [FIRST, OTHER, NOTE]

    def test_without_content_the_evidence_is_meant(self, collection: Collection) -> None:
        collection.store_well(note("113001", FIRST, SECOND, meant=[]))
        assert list_held(collection) == [OTHER, NOTE]

    def test_what_is_elsewhere_stays(self, collection: Collection) -> None:
        collection.store_well(note("113037", ("1.2.3.7", FIRST[1]), ("1.2.3.1", "1.2.3.1.77")))
        assert list_held(collection) == [*ALL, NOTE]

    def test_a_repeated_note_changes_nothing(self, collection: Collection) -> None:
        made = reject(collection, "113001", FIRST)
        assert reject(collection, "113001", FIRST) == made
        assert len(collection.call("GET", "/rejections")) == 1

    @pytest.mark.parametrize("code", ["113001", "113037"])
    def test_instances_and_their_note_in_one_request(
        self, collection: Collection, code: str
    ) -> None:
        fresh = ("1.2.3.1", "1.2.3.1.9")
        answer = collection.store(make_slice(fresh), note(code, fresh))
        assert answer.status_code == 200
        assert list_held(collection) == [*ALL, NOTE]
        held = list_held(collection, "main~1")
        assert held == (ALL if code in EVERYWHERE else sorted([*ALL, fresh])), "it is in history"
        (rejection,) = collection.call("GET", "/rejections")
        assert [one["instance"] for one in rejection["instances"]] == [fresh[1]]


class TestEveryRevision:
    @pytest.mark.parametrize("code", EVERYWHERE)
    def test_nothing_of_it_can_be_read_anywhere(self, collection: Collection, code: str) -> None:
        first = collection.head()
        assert collection.make_ref("tags", "v1").status_code == 201
        assert collection.make_ref("branches", "draft").status_code == 201
        second = collection.store_well(make_slice(("1.2.3.1", "1.2.3.1.3")))
        instant = collection.log()[1]["time"]
        revisions = [first, second, "v1", "draft", "main~1", first[:12], f"main@{instant}"]
        for revision in revisions:
            assert set(ask_everything(collection, FIRST, revision).values()) == {200}
            series = collection.get(f"/studies/{STUDY}/series/1.2.3.1/metadata", revision).json()
            assert FIRST[1] in json.dumps(series)
        reject(collection, code, FIRST)
        for revision in [*revisions, "main"]:
            assert set(ask_everything(collection, FIRST, revision).values()) == {410}, revision
            assert FIRST not in list_held(collection, revision)
            assert SECOND in list_held(collection, revision)
            for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/1.2.3.1"):
                for end in ("/metadata", "", "/instances"):
                    answer = collection.get(path + end, revision)
                    assert answer.status_code == 200
                    assert f"of {FIRST[1]}".encode() not in answer.content
            for query in (f"SeriesDescription=of {FIRST[1]}", f"SOPInstanceUID={FIRST[1]}"):
                assert collection.get(f"/instances?{query}", revision).json() == []
            found = collection.get("/series?includefield=SeriesDescription", revision).text
            assert f"of {FIRST[1]}" not in found
            assert f"of {SECOND[1]}" in found

    def test_the_answer_says_why(self, collection: Collection) -> None:
        before = collection.head()
        reject(collection, "113037", FIRST, SECOND, OTHER)
        for path in (
            path_of(FIRST),
            f"/studies/{STUDY}",
            f"/studies/{STUDY}/series/1.2.3.1/metadata",
        ):
            answer = collection.get(path, before)
            assert answer.status_code == 410
            assert "113037" in answer.json()["detail"]
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["lamella-commit"] == before
        assert collection.get("/studies", before).json() == []
        assert collection.get(f"/studies/{STUDY}/series/9.9/metadata", before).status_code == 404

    def test_validators_tell_of_the_change(self, collection: Collection) -> None:
        before = collection.head()
        paths = ["/studies", f"/studies/{STUDY}/metadata", path_of(SECOND)]
        tags = {path: collection.get(path, before).headers for path in paths}
        assert all("immutable" in one["cache-control"] for one in tags.values())
        reject(collection, "113038", FIRST)
        for path in paths:
            known = {"If-None-Match": tags[path]["etag"]}
            answer = collection.get(path, before, known)
            assert answer.status_code == 200
            assert answer.headers["etag"] != tags[path]["etag"]
            assert "no-cache" in answer.headers["cache-control"]
            again = {"If-None-Match": answer.headers["etag"]}
            assert collection.get(path, before, again).status_code == 304
        assert lift(collection, collection.call("GET", "/rejections")[0]["id"]).status_code == 200
        for path in paths:
            answer = collection.get(path, before)
            assert answer.headers["etag"] == tags[path]["etag"]
            assert "immutable" in answer.headers["cache-control"]

    def test_commits_that_never_held_it_stay_as_they_are(self, collection: Collection) -> None:
        empty = collection.log()[-1]["id"]
        before = collection.get("/studies", empty).headers["etag"]
        reject(collection, "113037", FIRST)
        answer = collection.get("/studies", empty)
        assert answer.headers["etag"] == before
        assert "immutable" in answer.headers["cache-control"]

    def test_export_diff_and_show_leave_it_out(
        self, collection: Collection, tmp_path: Path
    ) -> None:
        before = collection.head()
        reject(collection, "113037", FIRST)
        target, folder = f"{collection.name}@{before}", tmp_path / "out"
        done = run_cli(collection.server.data_dir, "export", target, str(folder))
        assert done.returncode == 0, done.stderr
        assert sorted(p.stem for p in folder.rglob("*.dcm")) == [SECOND[1], OTHER[1]]
        shown = run_cli(collection.server.data_dir, "show", target, "--json")
        assert FIRST[1] not in shown.stdout
        assert SECOND[1] in shown.stdout
        diff = collection.call("GET", f"/diff?from=main~2&to={before}")
        assert [one["instance"] for one in diff["added"]] == [SECOND[1], OTHER[1]]
        tagged = run_cli(collection.server.data_dir, "tag", "create", "v9", target)
        assert tagged.returncode == 0, tagged.stderr
        assert list_held(collection, "v9") == [SECOND, OTHER]

    def test_other_datasets_keep_it(self, collection: Collection) -> None:
        other = make_collection(collection.client, collection.server)
        other.store_well(*map(make_slice, ALL))
        reject(collection, "113037", FIRST)
        assert list_held(other) == ALL
        assert set(ask_everything(other, FIRST, "main").values()) == {200}

    def test_a_dataset_with_rejections_can_be_deleted(self, collection: Collection) -> None:
        before = collection.head()
        reject(collection, "113037", FIRST)
        list_held(collection, before)
        done = run_cli(collection.server.data_dir, "dataset", "delete", collection.name)
        assert done.returncode == 0, done.stderr


class TestLater:
    @pytest.mark.parametrize("code", HEAD_ONLY)
    def test_what_was_rejected_at_head_may_come_again(
        self, collection: Collection, code: str
    ) -> None:
        reject(collection, code, FIRST)
        assert collection.store(make_slice(FIRST)).status_code == 200
        assert list_held(collection) == [*ALL, NOTE]

    @pytest.mark.parametrize("code", EVERYWHERE)
    def test_what_is_hidden_everywhere_is_not_taken_again(
        self, collection: Collection, code: str
    ) -> None:
        collection.make_ref("branches", "draft")
        reject(collection, code, FIRST)
        for branch in ("main", "draft"):
            for data in (make_slice(FIRST), make_slice(FIRST, "another version")):
                assert collection.store(data, revision=branch).status_code == 409
        waiting = collection.call("GET", "/conflicts")
        assert code in waiting[0]["reason"]
        url = f"{collection.api}/conflicts/{waiting[0]['id']}/accept"
        assert collection.client.post(url).status_code == 409
        fresh = collection.store(make_slice(("1.2.3.1", "1.2.3.1.3")), make_slice(FIRST))
        assert fresh.status_code == 202
        assert FIRST not in list_held(collection)

    def test_every_door_rejects_and_refuses(self, server: RunningServer, tmp_path: Path) -> None:
        with open_client() as client:
            collection = Collection(client, server, "default")
            collection.store_well(*map(make_slice, ALL))
            assert send_by_dimse(server, note("113037", FIRST)) == [0x0000]
            assert list_held(collection) == [SECOND, OTHER, NOTE]
            assert send_by_dimse(server, make_slice(FIRST)) == [0x0111]
            second_note = note("113001", OTHER, sop="1.2.3.99.2")
            for name, data in (("note", second_note), ("slice", make_slice(FIRST))):
                (tmp_path / f"{name}.dcm").write_bytes(data)
            done = run_cli(server.data_dir, "import", str(tmp_path))
            assert "stored=1 unchanged=0 conflicts=1" in done.stdout
            assert list_held(collection) == [SECOND, NOTE, ("1.2.3.99", "1.2.3.99.2")]

    def test_one_association_brings_images_and_then_rejects_one(
        self, server: RunningServer
    ) -> None:
        with open_client() as client:
            collection = Collection(client, server, "default")
            sent = [("1.2.3.5", f"1.2.3.5.{number}") for number in (1, 2)]
            files = [*map(make_slice, sent), note("113037", sent[0], sop="1.2.3.99.5")]
            assert send_by_dimse(server, *files, make_slice(sent[0])) == [0, 0, 0, 0]
            assert sent[1] in list_held(collection)
            assert sent[0] not in list_held(collection)


class TestLifting:
    @pytest.mark.parametrize("code", [*HEAD_ONLY, *EVERYWHERE])
    def test_it_brings_back_what_was_there(self, collection: Collection, code: str) -> None:
        before = collection.log()[0]
        reject(collection, code, FIRST, OTHER)
        (rejection,) = collection.call("GET", "/rejections")
        assert rejection["lifted"] is None
        answer = lift(collection, rejection["id"], Lamella_Message="A mistake")
        assert answer.status_code == 200
        log = collection.log()
        assert answer.headers["lamella-commit"] == log[0]["id"] == collection.head()
        assert (log[0]["kind"], log[0]["message"]) == ("lift", "A mistake")
        assert log[0]["tree"] == before["tree"], "the note is gone, the rest is back"
        assert list_held(collection) == list_held(collection, before["id"]) == ALL
        for revision in ("main", before["id"]):
            assert set(ask_everything(collection, FIRST, revision).values()) == {200}
        kept = collection.call("GET", f"/rejections/{rejection['id']}")
        assert kept == answer.json()
        assert kept["lifted"]["commit"] == log[0]["id"]
        again = lift(collection, rejection["id"])
        assert (again.status_code, again.json()) == (200, kept)
        assert len(collection.log()) == len(log)

    def test_it_can_be_rejected_again(self, collection: Collection) -> None:
        before = collection.head()
        for n_times in (1, 2):
            reject(collection, "113037", FIRST)
            assert FIRST not in list_held(collection, before)
            rejections = collection.call("GET", "/rejections")
            assert len(rejections) == n_times
            assert lift(collection, rejections[-1]["id"]).status_code == 200
            assert FIRST in list_held(collection, before)

    @pytest.mark.parametrize("codes", [("113001", "113037"), ("113037", "113001"), EVERYWHERE])
    @pytest.mark.parametrize("is_reversed", [False, True])
    def test_two_rejections_of_one_instance(
        self, collection: Collection, codes: tuple[str, str], is_reversed: bool
    ) -> None:
        before = collection.head()
        for number, code in enumerate(codes, start=1):
            collection.store_well(note(code, FIRST, sop=f"1.2.3.99.{number}"))
        ids = [one["id"] for one in collection.call("GET", "/rejections")]
        in_force = dict(zip(ids, codes, strict=True))
        for rejection_id in reversed(ids) if is_reversed else ids:
            assert lift(collection, rejection_id).status_code == 200
            del in_force[rejection_id]
            assert (FIRST in list_held(collection)) == (not in_force)
            hidden = any(code in EVERYWHERE for code in in_force.values())
            assert (FIRST in list_held(collection, before)) == (not hidden)
        assert list_held(collection) == ALL

    def test_what_came_since_stays(self, collection: Collection) -> None:
        reject(collection, "113001", FIRST, SECOND)
        newer = make_slice(FIRST, "newer")
        collection.store_well(newer)
        (rejection,) = collection.call("GET", "/rejections")
        assert lift(collection, rejection["id"]).status_code == 200
        assert list_held(collection) == ALL
        assert collection.read_file(FIRST[1]) == newer

    def test_on_condition(self, collection: Collection) -> None:
        stale = collection.head()
        head = reject(collection, "113037", FIRST)
        (rejection,) = collection.call("GET", "/rejections")
        assert lift(collection, rejection["id"], If_Match=f'"{stale}"').status_code == 412
        assert FIRST not in list_held(collection, stale), "nothing is lifted"
        assert lift(collection, rejection["id"], If_Match=f'"{head}"').status_code == 200
        for number in ("0", "9" * 30):
            url = f"{collection.api}/rejections/{number}"
            assert collection.client.get(url).status_code == 404
            assert collection.client.post(f"{url}/lift").status_code == 404
        other = make_collection(collection.client, collection.server)
        assert lift(other, rejection["id"]).status_code == 404

    def test_where_the_branch_is_gone(self, collection: Collection) -> None:
        head = collection.head()
        collection.make_ref("branches", "draft")
        collection.store_well(note("113037", FIRST), revision="draft")
        assert FIRST not in list_held(collection), "every branch hides it"
        collection.client.delete(f"{collection.api}/branches/draft")
        (rejection,) = collection.call("GET", "/rejections")
        lifted = lift(collection, rejection["id"])
        assert (lifted.status_code, lifted.json()["lifted"]["commit"]) == (200, None)
        assert list_held(collection) == ALL
        assert collection.head() == head

    def test_the_command_line(self, collection: Collection) -> None:
        reject(collection, "113038", FIRST)

        def run(*arguments: str, status: int = 0) -> str:
            done = run_cli(collection.server.data_dir, "rejections", *arguments)
            assert done.returncode == status, done.stdout + done.stderr
            return done.stdout

        (listed,) = json.loads(run("list", "-d", collection.name, "--json"))
        assert [listed] == collection.call("GET", "/rejections")
        assert (listed["code"], listed["hides"]) == ("113038", "every revision")
        assert listed["note"] == {"study": STUDY, "series": NOTE[0], "instance": NOTE[1]}
        assert listed["instances"] == [{"study": STUDY, "series": FIRST[0], "instance": FIRST[1]}]
        assert "113038 Incorrect Modality Worklist Entry: 1 hidden" in run("-d", collection.name)
        assert "lifted by" in run("lift", str(listed["id"]), "-m", "Back")
        assert "lifted by" in run("lift", str(listed["id"]))
        assert collection.log()[0]["message"] == "Back"
        run("lift", "999999", status=1)
        run("lift", status=2)
        run("list", "1", status=2)


def send_by_dimse(server: RunningServer, *files: bytes) -> list[int]:
    """Send files in one association; return the statuses."""
    sent = [pydicom.dcmread(io.BytesIO(data)) for data in files]
    ae = AE()
    for sop_class, syntax in {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in sent}:
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", server.dimse_port, ae_title="LAMELLA")
    assert association.is_established
    statuses = [association.send_c_store(ds).Status for ds in sent]
    association.release()
    return statuses
