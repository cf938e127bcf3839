"""Storing: how a request may be written, and what it is answered with.

Every check stores into a study of its own, which is taken away at the end of the run.

Source:
    PS3.18 §10.5 and Annex I.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from functools import partial

from pydicom import Dataset

from lamella.conformance.check import Group, Level
from lamella.conformance.deposits import (
    CLASS_UID,
    FAILED,
    REFERENCE_UID,
    REFERENCED,
    RETRIEVE_URL,
    expect_stored,
    list_items,
    make_instance,
    path_of,
    read_module,
    store,
)
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    DataSet,
    expect,
    expect_equal,
    expect_media_type,
    expect_status,
    require_offered,
    value,
)
from lamella.conformance.multipart import Part, Writing, wrap
from lamella.conformance.native_xml import write_native
from lamella.conformance.probe import Probe
from lamella.conformance.samples import write_file

GROUP = Group("store", "Storing")
_RESPONSE = "PS3.18 §10.5.3.1, Table 10.5.3-1"
_MODULE = "PS3.18 Annex I.1"


# What is right


@GROUP.shall("one", "an instance is stored: 200, and it can be read", _RESPONSE, 21)
def _one(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds]), 200)
    expect_stored(probe, ds)


@GROUP.shall("two", "two instances of a study are stored in one request", "PS3.18 §10.5.1.4", 21)
def _two(probe: Probe) -> None:
    first = make_instance(probe)
    second = make_instance(probe, str(first.StudyInstanceUID))
    expect_status(store(probe, [first, second]), 200)
    expect_stored(probe, first, second)


@GROUP.shall(
    "two-studies", "instances of two studies are stored in one request", "PS3.18 §10.5.1.4", 21
)
def _two_studies(probe: Probe) -> None:
    found = [make_instance(probe), make_instance(probe)]
    expect_status(store(probe, found), 200)
    expect_stored(probe, *found)


@GROUP.shall("study", "an instance is stored at its study", "PS3.18 §10.5.1.1.1", 23)
def _study(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds], path=f"/studies/{ds.StudyInstanceUID}"), 200)
    expect_stored(probe, ds)


@GROUP.shall(
    "response-type", "the answer is DICOM JSON where that is asked for", "PS3.18 §10.5.4", 22
)
def _response_type(probe: Probe) -> None:
    expect_media_type(expect_status(store(probe, [make_instance(probe)]), 200), DICOM_JSON)


@GROUP.shall("response-any", "the answer to */* is DICOM JSON", "PS3.18 §10.5.4", 11)
def _response_any(probe: Probe) -> None:
    reply = expect_status(store(probe, [make_instance(probe)], accept="*/*"), 200)
    expect_media_type(reply, DICOM_JSON)


@GROUP.should(
    "response-xml", "the answer is DICOM XML where that is asked for", "PS3.18 §10.5.4", 22
)
def _response_xml(probe: Probe) -> None:
    reply = store(probe, [make_instance(probe)], accept=DICOM_XML)
    if reply.status == 406:
        accept = f'multipart/related; type="{DICOM_XML}"'
        reply = store(probe, [make_instance(probe)], accept=accept)
    expect_status(reply, 200)
    expect(b"NativeDicomModel" in reply.body, reply, "a Native DICOM Model", reply.body[:80])


@GROUP.shall("referenced", "each stored instance is in the Referenced SOP Sequence", _MODULE, 22)
def _referenced(probe: Probe) -> None:
    found = [make_instance(probe), make_instance(probe)]
    module = read_module(expect_status(store(probe, found), 200))
    got = [(value(i, CLASS_UID), value(i, REFERENCE_UID)) for i in list_items(module, REFERENCED)]
    wanted = [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in found]
    expect_equal(None, "class and instance UIDs", sorted(got), sorted(wanted))


@GROUP.shall("retrieve-url", "each stored instance has a Retrieve URL that works", _MODULE, 22, 29)
def _retrieve_url(probe: Probe) -> None:
    ds = make_instance(probe)
    module = read_module(expect_status(store(probe, [ds]), 200))
    element = list_items(module, REFERENCED)[0].get(RETRIEVE_URL, {})
    expect_equal(None, "vr", element.get("vr"), "UR")
    url = str((element.get("Value") or [""])[0])
    expect(url.endswith(path_of(ds)), None, f"a URL that ends in {path_of(ds)}", url)
    expect_status(probe.get(f"{url}/metadata"), 200)


@GROUP.shall("no-failed", "there is no Failed SOP Sequence where nothing failed", _MODULE, 22)
def _no_failed(probe: Probe) -> None:
    module = read_module(expect_status(store(probe, [make_instance(probe)]), 200))
    expect(FAILED not in module, None, "no (0008,1198)", module.get(FAILED))


@GROUP.practice("searchable", "what is stored is found at once", "PS3.18 §10.5.2", 21, 26)
def _searchable(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds]), 200)
    found = probe.search("/studies", f"StudyInstanceUID={ds.StudyInstanceUID}")
    expect_equal(None, "results:", len(found), 1)


@GROUP.shall("joins", "an instance joins a study that is there", "PS3.18 §10.5.2", 21)
def _joins(probe: Probe) -> None:
    first = make_instance(probe)
    second = make_instance(probe, str(first.StudyInstanceUID))
    expect_status(store(probe, [first]), 200)
    expect_status(store(probe, [second]), 200)
    found = probe.search(f"/studies/{first.StudyInstanceUID}/instances")
    expect_equal(None, "instances:", len(found), 2)


# How a request may be written


def _is_read(writing: Writing, probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds], writing=writing), 200)
    expect_stored(probe, ds)


for _name, _title, _writing, _weight in (
    (
        "unquoted-type",
        "the type parameter may be without quotation marks",
        Writing(quote_type=False),
        Level.SHALL,
    ),
    (
        "quoted-boundary",
        "the boundary may be in quotation marks",
        Writing(quote_boundary=True),
        Level.SHALL,
    ),
    ("preamble", "a preamble is ignored", Writing(preamble=b"This is multipart."), Level.SHALL),
    ("epilogue", "an epilogue is ignored", Writing(epilogue=b"\r\nThat was it."), Level.SHALL),
    ("no-epilogue", "nothing has to follow the last boundary", Writing(epilogue=b""), Level.SHALL),
    ("part-lengths", "parts may have a Content-Length", Writing(lengths=True), Level.SHALL),
    (
        "lower-case",
        "names of header fields are read in either case",
        Writing(lower=True),
        Level.SHALL,
    ),
    ("shouting", "media types are read in either case", Writing(shout=True), Level.SHALL),
):
    GROUP.add(
        _weight,
        _name,
        _title,
        "PS3.18 §8.6.1.2, §8.7; RFC 2046 §5.1.1",
        (24,),
        partial(_is_read, _writing),
    )


@GROUP.shall("chunked", "a request without a length is read", "RFC 9112 §7.1", 24)
def _chunked(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds], chunked=True), 200)
    expect_stored(probe, ds)


@GROUP.practice("large", "an instance of 8 MB without a length is stored", "PS3.18 §10.5.1.4", 25)
def _large(probe: Probe) -> None:
    ds = make_instance(probe, Rows=2048, Columns=4096)
    ds.PixelData = bytes(range(256)) * 32768
    expect_status(require_offered(store(probe, [ds], chunked=True), "8 MB", 413), 200)
    expect_stored(probe, ds)


@GROUP.shall("part-syntax", "a part may name its transfer syntax", "PS3.18 §8.7.3.5.2", 24)
def _part_syntax(probe: Probe) -> None:
    ds = make_instance(probe)
    part = wrap(write_file(ds), "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    reply = probe.store([part], [str(ds.StudyInstanceUID)])
    expect_status(require_offered(reply, "Storing"), 200)
    expect_stored(probe, ds)


@GROUP.should("single-part", "a body of application/dicom is one instance", "PS3.18 §10.5.4", 24)
def _single_part(probe: Probe) -> None:
    ds = make_instance(probe)
    headers = {"Content-Type": DICOM, "Accept": DICOM_JSON}
    reply = probe.post("/studies", headers, write_file(ds), [str(ds.StudyInstanceUID)])
    expect_status(require_offered(reply, "Storing"), 200)
    expect_stored(probe, ds)


@GROUP.practice(
    "boundary-like", "bytes like a boundary within an instance do no harm", "RFC 2046 §5.1.1", 24
)
def _boundary_like(probe: Probe) -> None:
    ds = make_instance(probe)
    ds.PixelData = (b"\r\n--conformance-\r\n\r\n--" * 12)[:256]
    expect_status(store(probe, [ds]), 200)
    expect_stored(probe, ds)


def _as_metadata(ds: Dataset, bulk_uri: str | None) -> DataSet:
    """Return an instance as DICOM JSON, its pixels inline or behind a URI."""
    found: DataSet = ds.to_json_dict(bulk_data_threshold=2**20)
    pixels = found["7FE00010"]
    pixels.pop("InlineBinary", None)
    if bulk_uri is None:
        pixels["InlineBinary"] = base64.b64encode(ds.PixelData).decode()
    else:
        pixels["BulkDataURI"] = bulk_uri
    return found


def _store_metadata(
    probe: Probe, ds: Dataset, kind: str, body: bytes, bulk: list[Part] | None = None
) -> Reply:
    head = Part({"Content-Type": f"{kind}; transfer-syntax=1.2.840.10008.1.2.1"}, body)
    reply = probe.store([head, *(bulk or [])], [str(ds.StudyInstanceUID)], root_type=kind)
    return require_offered(reply, "Storing")


def _bulk_part(ds: Dataset, uri: str) -> Part:
    return Part({"Content-Type": "application/octet-stream", "Content-Location": uri}, ds.PixelData)


@GROUP.shall(
    "json", "metadata in JSON are stored with their bulk data", "PS3.18 §10.5.1.4, §10.5.4", 24
)
def _json(probe: Probe) -> None:
    ds, uri = make_instance(probe), "bulk/1"
    body = json.dumps([_as_metadata(ds, uri)]).encode()
    expect_status(_store_metadata(probe, ds, DICOM_JSON, body, [_bulk_part(ds, uri)]), 200)
    expect_stored(probe, ds)


@GROUP.shall(
    "json-inline", "metadata in JSON may have binary values inline", "PS3.18 §F.2.7, §10.5.4", 24
)
def _json_inline(probe: Probe) -> None:
    ds = make_instance(probe)
    body = json.dumps([_as_metadata(ds, None)]).encode()
    expect_status(_store_metadata(probe, ds, DICOM_JSON, body), 200)
    expect_stored(probe, ds)


@GROUP.shall(
    "xml", "metadata in XML are stored with their bulk data", "PS3.18 §10.5.1.4, §10.5.4", 24
)
def _xml(probe: Probe) -> None:
    ds, uri = make_instance(probe), "bulk/1"
    body = write_native(_as_metadata(ds, uri))
    expect_status(_store_metadata(probe, ds, DICOM_XML, body, [_bulk_part(ds, uri)]), 200)
    expect_stored(probe, ds)


@GROUP.practice("zip", "a zip archive of instances is stored", "PS3.18 §8.7.3 (Sup 211)", 24)
def _zip(probe: Probe) -> None:
    ds, buffer = make_instance(probe), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("instance.dcm", write_file(ds))
    headers = {"Content-Type": "application/zip", "Accept": DICOM_JSON}
    reply = probe.post("/studies", headers, buffer.getvalue(), [str(ds.StudyInstanceUID)])
    expect_status(require_offered(reply, "application/zip", 400, 415), 200)
    expect_stored(probe, ds)
