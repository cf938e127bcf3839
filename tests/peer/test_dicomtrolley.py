"""dicomtrolley as a peer: a study found by QIDO-RS, retrieved by WADO-RS and by WADO-URI."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pydicom
import pytest
import requests
from dicomtrolley.core import QueryLevels
from dicomtrolley.exceptions import DICOMTrolleyError, NoQueryResultsError
from dicomtrolley.qido_rs import HierarchicalQuery, QidoRS, RelationalQuery
from dicomtrolley.trolley import Trolley
from dicomtrolley.wado_rs import WadoRS
from dicomtrolley.wado_uri import WadoURI

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

STUDY = "1.2.3"


def make_files() -> dict[str, bytes]:
    """Return a study of two series, and one of another patient, by SOP Instance UID."""
    files = {}
    for series, number in [(1, 1), (1, 2), (1, 3), (2, 1)]:
        uid = f"{STUDY}.{series}.{number}"
        files[uid] = make_instance(
            STUDY, f"{STUDY}.{series}", uid, SeriesNumber=series, fill=number
        )
    files["1.2.4.1.1"] = make_instance("1.2.4", "1.2.4.1", "1.2.4.1.1", patient_id="PAT2")
    return files


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with (
        serve(tmp_path_factory.mktemp("trolley") / "data", dimse="off") as server,
        open_client() as client,
    ):
        made = make_collection(client, server)
        made.store_well(*make_files().values())
        assert made.make_ref("tags", "v1").status_code == 201
        made.store_well(make_instance(STUDY, f"{STUDY}.1", f"{STUDY}.1.9"))
        yield made


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


def make_trolley(session: requests.Session, root: str, how: str) -> Trolley:
    downloader = {
        "wado-rs, by series": lambda: WadoRS(session, root),
        "wado-rs, whole": lambda: WadoRS(session, root, request_per_series=False),
        "wado-uri": lambda: WadoURI(session, f"{root}/wado"),
    }[how]()
    return Trolley(downloader=downloader, searcher=QidoRS(session, root))


@pytest.mark.parametrize("how", ["wado-rs, by series", "wado-rs, whole", "wado-uri"])
def test_a_study_is_retrieved(
    collection: Collection, session: requests.Session, tmp_path: Path, how: str
) -> None:
    trolley = make_trolley(session, collection.root("v1"), how)
    study = trolley.find_study(HierarchicalQuery(PatientID="PAT1"))
    assert study.uid == STUDY
    trolley.download(study, str(tmp_path))
    saved = [pydicom.dcmread(path) for path in tmp_path.rglob("*") if path.is_file()]
    files = make_files()
    assert {ds.SOPInstanceUID for ds in saved} == {uid for uid in files if uid[:6] == f"{STUDY}."}
    for ds in saved:
        assert ds == pydicom.dcmread(io.BytesIO(files[ds.SOPInstanceUID]))


def test_searches(collection: Collection, session: requests.Session) -> None:
    searcher = QidoRS(session, collection.root("v1"))
    assert {study.uid for study in searcher.find_studies(HierarchicalQuery())} == {STUDY, "1.2.4"}
    day = datetime(2026, 1, 2)
    dated = HierarchicalQuery(min_study_date=day, max_study_date=day, limit=1)
    assert len(searcher.find_studies(dated)) == 1
    whole = searcher.find_study_by_id(STUDY, query_level=QueryLevels.INSTANCE)
    assert sorted(len(series.instances) for series in whole.series) == [1, 3]
    related = RelationalQuery(query_level=QueryLevels.INSTANCE, StudyInstanceUID=STUDY)
    (study,) = searcher.find_studies(related)
    assert len([each for series in study.series for each in series.instances]) == 4


def test_the_branch_went_on(collection: Collection, session: requests.Session) -> None:
    searcher = QidoRS(session, collection.root())
    whole = searcher.find_study_by_id(STUDY, query_level=QueryLevels.INSTANCE)
    assert sorted(len(series.instances) for series in whole.series) == [1, 4]


def test_nothing_found(collection: Collection, session: requests.Session) -> None:
    trolley = make_trolley(session, collection.root(), "wado-rs, whole")
    with pytest.raises((NoQueryResultsError, DICOMTrolleyError)):
        trolley.find_study(HierarchicalQuery(PatientID="NOBODY"))
