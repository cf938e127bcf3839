"""DELETE on a branch: one commit, what is beside it stays, old commits keep serving."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

STUDY, OTHER_STUDY = "1.2.3", "1.2.4"
COUNTS = {"series": "00201206", "instances": "00201208", "of_series": "00201209"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("deleting") / "data", dimse="off") as running:
        yield running
    checked = run_cli(running.data_dir, "fsck", "--bytes")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server)


@pytest.fixture
def head(collection: Collection) -> str:
    """Store two studies: one of two series, of two instances and one, whose headers differ."""
    return collection.store_well(
        make_slice(1, 1, "first", Modality="CT"),
        make_slice(1, 2, "second", Modality="CT"),
        make_slice(2, 1, "other series", Modality="SR"),
        make_instance(OTHER_STUDY, f"{OTHER_STUDY}.1", f"{OTHER_STUDY}.1.1"),
    )


def make_slice(series: int, number: int, description: str, **attributes: object) -> bytes:
    series_uid = f"{STUDY}.{series}"
    return make_instance(
        STUDY,
        series_uid,
        f"{series_uid}.{number}",
        SeriesDescription=description,
        StudyDescription=description,
        **attributes,
    )


def name_path(series: int | None = None, number: int | None = None, study: str = STUDY) -> str:
    path = f"/studies/{study}"
    if series is not None:
        path += f"/series/{study}.{series}"
    return path if number is None else f"{path}/instances/{study}.{series}.{number}"


def delete(
    collection: Collection, path: str, revision: str | None = "main", **headers: str
) -> httpx.Response:
    url = collection.root(revision) + path
    sent = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    return collection.client.delete(url, headers=sent)


def list_found(collection: Collection, level: str, revision: str = "main") -> list[str]:
    tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[level]
    return sorted(one[tag]["Value"][0] for one in collection.get(f"/{level}", revision).json())


def test_an_instance(collection: Collection, head: str) -> None:
    answer = delete(collection, name_path(1, 1))
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers
    made = answer.headers["lamella-commit"]
    assert made == collection.head() != head
    log = collection.log()
    assert (log[0]["kind"], log[0]["parents"], len(log)) == ("delete", [head], 3)
    assert log[0]["message"] == "Delete 1 instance"
    assert list_found(collection, "instances") == ["1.2.3.1.2", "1.2.3.2.1", "1.2.4.1.1"]
    for end in ("", "/metadata", "/frames/1", "/rendered"):
        gone = collection.get(name_path(1, 1) + end)
        assert gone.status_code == 404, end
        assert gone.headers["lamella-commit"] == made
    file = f"{collection.api}/instances/{STUDY}.1.1/file"
    assert collection.client.get(file).status_code == 404
    assert collection.client.get(f"{file}?revision={head}").status_code == 200


def test_attributes_follow_the_instance_that_is_first_now(
    collection: Collection, head: str
) -> None:
    path = f"/series?SeriesInstanceUID={STUDY}.1&includefield=SeriesDescription,StudyDescription"
    for revision, text in (("main", "first"), (head, "first")):
        (found,) = collection.get(path, revision).json()
        assert found["0008103E"]["Value"] == [text]
    delete(collection, name_path(1, 1))
    for revision, text, count in (("main", "second", 1), (head, "first", 2)):
        (found,) = collection.get(path, revision).json()
        assert found["0008103E"]["Value"] == found["00081030"]["Value"] == [text]
        assert found[COUNTS["of_series"]]["Value"] == [count]
        for wanted in ("first", "second"):
            matches = collection.get(f"/series?SeriesDescription={wanted}", revision).json()
            assert len(matches) == (wanted == text)


def test_the_last_instance_takes_series_and_study_with_it(
    collection: Collection, head: str
) -> None:
    assert delete(collection, name_path(2, 1)).status_code == 204
    assert list_found(collection, "series") == ["1.2.3.1", "1.2.4.1"]
    (study,) = collection.get(f"/studies?StudyInstanceUID={STUDY}").json()
    assert study["00080061"]["Value"] == ["CT"]
    assert study[COUNTS["series"]]["Value"] == [1]
    assert study[COUNTS["instances"]]["Value"] == [2]
    assert delete(collection, name_path(1, 1, OTHER_STUDY)).status_code == 204
    assert list_found(collection, "studies") == [STUDY]
    assert collection.get(f"/studies/{OTHER_STUDY}/metadata").status_code == 404
    assert list_found(collection, "studies", head) == [STUDY, OTHER_STUDY]


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (name_path(1), ["1.2.3.2.1", "1.2.4.1.1"]),
        (name_path(), ["1.2.4.1.1"]),
        (name_path(study=OTHER_STUDY), ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"]),
    ],
)
def test_a_series_and_a_study_are_one_commit(
    collection: Collection, head: str, path: str, left: list[str]
) -> None:
    message = "Größer ist nicht besser"
    assert delete(collection, path, Lamella_Message=message).status_code == 204
    assert list_found(collection, "instances") == left
    assert len(list_found(collection, "instances", head)) == 4
    log = collection.log()
    assert (len(log), log[0]["message"]) == (3, message)
    diff = collection.call("GET", f"/diff?from={head}&to=main")
    assert [len(diff[part]) for part in ("added", "removed", "changed")] == [0, 4 - len(left), 0]
    assert delete(collection, path).status_code == 404
    assert len(collection.log()) == 3


def test_the_default_branch_needs_no_name(collection: Collection, head: str) -> None:
    assert delete(collection, name_path(), None).status_code == 204
    assert collection.log()[0]["parents"] == [head]


@pytest.mark.parametrize(
    "path",
    [
        name_path(9),
        name_path(1, 9),
        name_path(study="1.2.9"),
        f"/studies/{OTHER_STUDY}/series/{STUDY}.1",
        f"/studies/{STUDY}/series/{STUDY}.2/instances/{STUDY}.1.1",
    ],
)
def test_what_is_not_there(collection: Collection, head: str, path: str) -> None:
    answer = delete(collection, path)
    assert answer.status_code == 404
    assert {"title", "detail"} <= answer.json().keys()
    assert collection.head() == head


def test_only_branches_are_deleted_from(collection: Collection, head: str) -> None:
    assert collection.make_ref("tags", "v1").status_code == 201
    instant = collection.log()[0]["time"]
    for revision in ("v1", head, head[:10], "main~0", f"main@{instant}"):
        answer = delete(collection, name_path(), revision)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert delete(collection, name_path(), "nobody").status_code == 404
    assert collection.head() == head


def test_if_match(collection: Collection, head: str) -> None:
    older = collection.log()[1]["id"]
    assert delete(collection, name_path(), If_Match=f'"{older}"').status_code == 412
    assert delete(collection, name_path(), If_Match='"nonsense"').status_code == 400
    assert collection.head() == head
    assert delete(collection, name_path(), If_Match=f'"{head}"').status_code == 204
    assert delete(collection, name_path(1, 1), If_Match="*").status_code == 404


def test_a_branch_beside_it_keeps_everything(collection: Collection, head: str) -> None:
    assert collection.make_ref("branches", "draft").status_code == 201
    assert delete(collection, name_path(), "draft").status_code == 204
    assert len(list_found(collection, "instances")) == 4
    assert list_found(collection, "instances", "draft") == ["1.2.4.1.1"]
    assert collection.head() == head


def test_what_was_deleted_comes_back_as_the_same(collection: Collection, head: str) -> None:
    tree = collection.log()[0]["tree"]
    delete(collection, name_path(1, 1))
    again = collection.store(make_slice(1, 1, "first", Modality="CT"))
    assert again.status_code == 200
    assert collection.log()[0]["tree"] == tree
    assert collection.head() != head


def test_another_patient_may_have_the_study_once_it_is_empty(
    collection: Collection, head: str
) -> None:
    stranger = make_instance(STUDY, f"{STUDY}.7", f"{STUDY}.7.1", patient_id="SOMEONE-ELSE")
    assert collection.store(stranger).status_code == 409
    delete(collection, name_path())
    assert collection.store(stranger).status_code == 200


def test_delete_is_told_of(collection: Collection, head: str) -> None:
    for path in (name_path(), name_path(1), name_path(1, 1)):
        allow = collection.client.options(collection.root() + path).headers["allow"]
        assert "DELETE" in allow.split(", ")
    wadl = collection.client.options(collection.root()).text
    assert wadl.count('<method name="DELETE">') == 3
