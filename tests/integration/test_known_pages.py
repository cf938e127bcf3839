"""Pages that were found before: the same again, and none of them after a commit changed what is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, serve

SEARCHES = (
    "/studies",
    "/studies?PatientID=P1",
    "/studies?PatientName=Doe*&limit=2",
    "/studies?PatientName=Doe*&limit=2&offset=1",
    "/studies?PatientName=Doe*&includefield=00081030",
    "/studies?ModalitiesInStudy=CT&fuzzymatching=true",
    "/series?Modality=CT",
    "/series?PatientID=P1",
    "/studies/1.2.1/series",
    "/studies/1.2.1/series?SeriesNumber=1",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("pages") / "data", dimse="off") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    with open_client() as client:
        yield make_collection(client, server, duplicates="replace")


def make_study(number: int, name: str = "Doe^Jane") -> bytes:
    return make_instance(
        study=f"1.2.{number}",
        series=f"1.2.{number}.1",
        sop=f"1.2.{number}.1.1",
        patient_id=f"P{number}",
        PatientName=name,
        StudyDescription=f"study {number}",
        SeriesNumber=1,
        Modality="CT",
    )


def search_all(collection: Collection, revision: str | None = None) -> dict[str, Any]:
    """Return what each search finds, which is the same if it is asked for again."""
    found = {}
    for target in SEARCHES:
        first, again = (collection.get(target, revision=revision) for _ in range(2))
        assert first.status_code == again.status_code == 200, first.text
        assert first.content == again.content
        assert first.headers.get("warning") == again.headers.get("warning")
        found[target] = first.json()
    return found


def list_studies(results: list[dict[str, Any]]) -> set[str]:
    return {result["0020000D"]["Value"][0] for result in results}


def test_what_a_commit_changes_is_found_at_once(collection: Collection) -> None:
    collection.store_well(make_study(1))
    one = search_all(collection)
    old = collection.head()
    collection.store_well(make_study(2), make_study(3))
    three = search_all(collection)
    assert list_studies(three["/studies"]) == {"1.2.1", "1.2.2", "1.2.3"}
    assert len(three["/studies?PatientName=Doe*&limit=2"]) == 2
    assert three["/studies?PatientID=P1"] == one["/studies?PatientID=P1"]
    collection.store_well(make_study(1, "Roe^Richard"))
    renamed = search_all(collection)
    assert list_studies(renamed["/studies?PatientName=Doe*&limit=2"]) == {"1.2.2", "1.2.3"}
    name = renamed["/studies?PatientID=P1"][0]["00100010"]["Value"][0]
    assert name == {"Alphabetic": "Roe^Richard"}
    then = search_all(collection, old)
    assert {target: list_studies(results) for target, results in then.items()} == {
        target: list_studies(results) for target, results in one.items()
    }


def test_counts_follow_although_rows_stay(collection: Collection) -> None:
    collection.store_well(make_study(1))
    assert search_all(collection)["/studies"][0]["00201208"]["Value"] == [1]
    collection.store_well(
        make_instance(
            study="1.2.1",
            series="1.2.1.1",
            sop="1.2.1.1.2",
            patient_id="P1",
            PatientName="Doe^Jane",
            StudyDescription="study 1",
            SeriesNumber=1,
            Modality="CT",
        )
    )
    assert search_all(collection)["/studies"][0]["00201208"]["Value"] == [2]


def test_a_form_of_its_own_for_each_who_asks(collection: Collection) -> None:
    collection.store_well(make_study(1))
    found = search_all(collection)
    (described,) = found["/studies?PatientName=Doe*&includefield=00081030"]
    (plain,) = found["/studies?PatientName=Doe*&limit=2"]
    assert described["00081030"]["Value"] == ["study 1"]
    assert "00081030" not in plain
