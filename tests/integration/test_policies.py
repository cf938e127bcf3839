"""The duplicates policy of a dataset: settable at any time, honoured by every door."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from tests.harness.collection import Collection, make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import RunningServer, run_cli, serve

SOP = "1.2.3.1.1"
FIRST = make_instance(SeriesDescription="first", fill=1)
NEW_HEADER = make_instance(SeriesDescription="second", fill=1)
NEW_PIXELS = make_instance(SeriesDescription="third", fill=3)

# what each policy does with a new header, and then with new pixels
DOINGS = {
    "version": ("taken", "refused"),
    "replace": ("taken", "taken"),
    "reject": ("refused", "refused"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("policies") / "data") as running:
        yield running


@pytest.fixture
def collection(server: RunningServer) -> Iterator[Collection]:
    """Yield the dataset `default`, where the DIMSE door leads, with one instance in it."""
    with open_client() as client:
        found = Collection(client, server, "default")
        found.client.patch(found.api, json={"duplicates": "version"})
        found.client.delete(f"{found.root()}/studies/1.2.3")
        for waiting in found.call("GET", "/conflicts"):
            found.call("POST", f"/conflicts/{waiting['id']}/discard")
        found.store_well(FIRST)
        yield found


def send_by_stow(collection: Collection, data: bytes, _folder: Path) -> bool:
    return collection.store(data).status_code == 200


def send_by_dimse(collection: Collection, data: bytes, _folder: Path) -> bool:
    ds = pydicom.dcmread(io.BytesIO(data))
    ae = AE()
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", collection.server.dimse_port, ae_title="LAMELLA")
    assert association.is_established
    status = association.send_c_store(ds).Status
    association.release()
    assert status in (0x0000, 0x0111)
    return bool(status == 0)


def send_by_import(collection: Collection, data: bytes, folder: Path) -> bool:
    file = folder / "one.dcm"
    file.write_bytes(data)
    return run_cli(collection.server.data_dir, "import", str(file)).returncode == 0


DOORS = {"stow": send_by_stow, "dimse": send_by_dimse, "import": send_by_import}


@pytest.mark.parametrize("policy", DOINGS)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_honours_it(
    collection: Collection, tmp_path: Path, policy: str, door: str
) -> None:
    changed = collection.client.patch(collection.api, json={"duplicates": policy})
    assert (changed.status_code, changed.json()["duplicates"]) == (200, policy)
    assert DOORS[door](collection, FIRST, tmp_path), "the same is welcome under any policy"
    for data, doing in zip((NEW_HEADER, NEW_PIXELS), DOINGS[policy], strict=True):
        before = collection.head()
        assert DOORS[door](collection, data, tmp_path) == (doing == "taken")
        if doing == "refused":
            assert collection.head() == before
    waiting = collection.call("GET", "/conflicts")
    assert len(waiting) == DOINGS[policy].count("refused")
    shown = collection.get(f"/instances?SOPInstanceUID={SOP}&includefield=SeriesDescription")
    (description,) = shown.json()[0]["0008103E"]["Value"]
    assert description == {"version": "second", "replace": "third", "reject": "first"}[policy]


def test_it_changes_by_api_and_command_line(collection: Collection) -> None:
    other = make_collection(collection.client, collection.server, "reject")
    folder = collection.server.data_dir

    def run(*arguments: str) -> int:
        return run_cli(folder, "dataset", "set", *arguments).returncode

    assert run(other.name, "duplicates=replace") == 0
    assert collection.client.get(other.api).json()["duplicates"] == "replace"
    assert collection.client.get(collection.api).json()["duplicates"] == "version"
    assert (run("nobody", "duplicates=replace"), run(other.name, "duplicates=no")) == (1, 1)
    assert (run(other.name, "duplicates"), run(other.name, "colour=red")) == (2, 2)
    for body, status in (({"duplicates": "no"}, 400), ({}, 400), ({"name": "x"}, 400)):
        assert collection.client.patch(other.api, json=body).status_code == status
    unknown = f"{collection.server.http}/api/v1/datasets/nobody"
    assert collection.client.patch(unknown, json={"duplicates": "reject"}).status_code == 404
    assert collection.client.get(other.api).json()["duplicates"] == "replace"


def test_replace_keeps_an_instance_in_its_series(collection: Collection) -> None:
    collection.client.patch(collection.api, json={"duplicates": "replace"})
    assert collection.store(make_instance(series="1.2.3.9")).status_code == 409


def test_an_association_that_is_open_sees_the_change(collection: Collection) -> None:
    ds = pydicom.dcmread(io.BytesIO(NEW_HEADER))
    ae = AE()
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", collection.server.dimse_port, ae_title="LAMELLA")
    try:
        first = pydicom.dcmread(io.BytesIO(FIRST))
        assert association.send_c_store(first).Status == 0
        collection.client.patch(collection.api, json={"duplicates": "reject"})
        assert association.send_c_store(ds).Status == 0x0111
    finally:
        association.release()
