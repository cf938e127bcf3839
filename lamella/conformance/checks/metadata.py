"""Metadata of studies, series and instances: the resources and their media types.

Source:
    PS3.18 §10.4.1.1.2 and §10.4.4.
"""

from __future__ import annotations

import gzip
from functools import partial
from itertools import pairwise

from lamella.conformance.check import Group, Level
from lamella.conformance.dicom_json import PIXEL_DATA, list_faults, walk
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM_JSON,
    DICOM_XML,
    MULTIPART,
    DataSet,
    expect,
    expect_equal,
    expect_media_type,
    expect_status,
    read_data_sets,
    read_json,
    read_parts,
    root_type,
    values,
)
from lamella.conformance.native_xml import read_native
from lamella.conformance.outcomes import CheckFailed
from lamella.conformance.probe import SERIES_UID, SOP_UID, STUDY_UID, Probe
from lamella.conformance.samples import make_uid

GROUP = Group("metadata", "Metadata")
_XML = 'multipart/related; type="application/dicom+xml"'


def _fetch(probe: Probe, level: str, accept: str | None = DICOM_JSON) -> Reply:
    path = getattr(
        probe.specimen, {"study": "study_path", "series": "series_path"}.get(level, "path")
    )
    return probe.get(f"{path}/metadata", accept=accept)


def fetch_instance(probe: Probe) -> DataSet:
    """Return the specimen's metadata; fail if they are not one data set."""
    reply = _fetch(probe, "instance")
    found = read_data_sets(reply)
    expect_equal(reply, "data sets:", len(found), 1)
    return found[0]


def _is_there(level: str, probe: Probe) -> None:
    reply = _fetch(probe, level)
    uids = values(read_data_sets(reply), SOP_UID)
    expect(probe.specimen.sop_uid in uids, reply, f"instance {probe.specimen.sop_uid}", uids)


def _is_whole(level: str, probe: Probe) -> None:
    names = {"study": ("ct1", "ct2", "ct3", "report"), "series": ("ct1", "ct2", "ct3")}
    wanted = sorted(probe.sample(name).sop_uid for name in names[level])
    reply = _fetch(probe, level)
    expect_equal(reply, "instances", sorted(values(read_data_sets(reply), SOP_UID)), wanted)


for _level in ("study", "series", "instance"):
    GROUP.add(
        Level.SHALL,
        _level,
        f"{_level} metadata are there",
        "PS3.18 §10.4.1.1.2",
        (12,),
        partial(_is_there, _level),
    )
for _level in ("study", "series"):
    GROUP.add(
        Level.SHALL,
        f"{_level}-whole",
        f"{_level} metadata have each instance once",
        "PS3.18 §10.4.1.1.2, §10.4.3.1",
        (12,),
        partial(_is_whole, _level),
    )


@GROUP.shall("content-type", "metadata come as application/dicom+json", "PS3.18 §10.4.4", 17)
def _content_type(probe: Probe) -> None:
    expect_media_type(expect_status(_fetch(probe, "instance"), 200), DICOM_JSON)


@GROUP.shall("model", "metadata are DICOM JSON model objects", "PS3.18 §F.2.2", 17)
def _model(probe: Probe) -> None:
    faults = list_faults(fetch_instance(probe))
    expect(not faults, None, "DICOM JSON model objects", "; ".join(faults[:3]))


@GROUP.shall("ascending", "attributes stand in ascending order", "PS3.18 §F.2.2", 17)
def _ascending(probe: Probe) -> None:
    for data_set in walk(fetch_instance(probe)):
        tags = list(data_set)
        wrong = [b for a, b in pairwise(tags) if a >= b]
        expect(not wrong, None, "ascending tags", f"{wrong[:3]} after a greater one")


@GROUP.shall("no-file-meta", "metadata have no group 0002", "PS3.18 §F.2.2, PS3.10 §7.1", 17)
def _no_file_meta(probe: Probe) -> None:
    wrong = [tag for tag in fetch_instance(probe) if tag[:4] in ("0000", "0002")]
    expect_equal(None, "attributes of groups 0000 and 0002", wrong, [])


@GROUP.shall("no-group-length", "metadata have no group lengths", "PS3.18 §F.2.2", 17)
def _no_group_length(probe: Probe) -> None:
    wrong = [tag for part in walk(fetch_instance(probe)) for tag in part if tag.endswith("0000")]
    expect_equal(None, "group lengths", [tag for tag in wrong if int(tag[:4], 16) % 2 == 0], [])


@GROUP.shall("uids", "metadata have the UIDs of their resource", "PS3.18 §10.4.1.1.2", 17)
def _uids(probe: Probe) -> None:
    found = fetch_instance(probe)
    got = [values([found], tag)[0] for tag in (STUDY_UID, SERIES_UID, SOP_UID)]
    s = probe.specimen
    expect_equal(None, "UIDs", got, [s.study_uid, s.series_uid, s.sop_uid])


@GROUP.shall("complete", "metadata have every attribute of the instance", "PS3.18 §10.4.1.1.2", 17)
def _complete(probe: Probe) -> None:
    ct = probe.sample("ct1")
    wanted = {f"{element.tag:08X}" for element in ct.ds if element.tag != 0x7FE00010}
    missing = sorted(wanted - fetch_instance(probe).keys())
    expect_equal(None, "attributes that are missing", missing, [])


@GROUP.shall("pixel-data", "Pixel Data are mentioned, not dropped", "PS3.18 §10.4.1.1.2", 17)
def _pixel_data(probe: Probe) -> None:
    found = fetch_instance(probe).get(PIXEL_DATA)
    expect(found is not None, None, "(7FE0,0010), with a BulkDataURI", "none")


@GROUP.practice("pixel-data-uri", "Pixel Data are a BulkDataURI", "OHIF/Viewers#1602", 17)
def _pixel_data_uri(probe: Probe) -> None:
    found = fetch_instance(probe).get(PIXEL_DATA, {})
    expect("BulkDataURI" in found, None, "a BulkDataURI", sorted(found))


def _is_unknown(place: str, probe: Probe) -> None:
    s, new = probe.specimen, make_uid()
    path = {
        "study": f"/studies/{new}",
        "series": f"{s.study_path}/series/{new}",
        "instance": f"{s.series_path}/instances/{new}",
        "series-elsewhere": f"/studies/{new}/series/{s.series_uid}",
        "instance-elsewhere": f"{s.study_path}/series/{new}/instances/{s.sop_uid}",
    }[place]
    expect_status(probe.get(f"{path}/metadata"), 404, 410)


for _place, _title in (
    ("study", "metadata of an unknown study are 404"),
    ("series", "metadata of an unknown series are 404"),
    ("instance", "metadata of an unknown instance are 404"),
    ("series-elsewhere", "a series under another study is 404"),
    ("instance-elsewhere", "an instance under another series is 404"),
):
    GROUP.add(
        Level.SHALL,
        f"unknown-{_place}",
        _title,
        "PS3.18 §10.4.3.1",
        (12,),
        partial(_is_unknown, _place),
    )


def _is_json(accept: str | None, probe: Probe) -> None:
    reply = expect_media_type(expect_status(_fetch(probe, "instance", accept), 200), DICOM_JSON)
    read_data_sets(reply)


for _name, _title, _accept, _weight in (
    ("any", "*/* gives DICOM JSON", "*/*", Level.SHALL),
    ("none", "no Accept gives DICOM JSON", None, Level.SHALL),
    (
        "list",
        "a list that has DICOM JSON gives it",
        "application/dicom+json, application/json",
        Level.SHALL,
    ),
):
    GROUP.add(
        _weight, _name, _title, "PS3.18 §8.7.5, §10.4.4", (11, 13), partial(_is_json, _accept)
    )


@GROUP.practice("json", "application/json gives JSON", "PS3.18 §8.7.3.2", 10)
def _json(probe: Probe) -> None:
    reply = expect_status(_fetch(probe, "instance", "application/json"), 200)
    expect_media_type(reply, "application/json", DICOM_JSON)


@GROUP.shall("unacceptable", "nothing acceptable is 406", "PS3.18 §10.4.3.1", 12)
def _unacceptable(probe: Probe) -> None:
    expect_status(_fetch(probe, "instance", "image/png"), 406)


@GROUP.shall("accept-parameter", "the query parameter accept chooses", "PS3.18 §8.3.3.1", 13)
def _accept_parameter(probe: Probe) -> None:
    query = "accept=multipart/related%3B%20type%3D%22application/dicom%2Bxml%22"
    reply = probe.get(f"{probe.specimen.path}/metadata", query, "*/*")
    expect_media_type(expect_status(reply, 200), MULTIPART)


def _read_xml(probe: Probe, level: str) -> list[DataSet]:
    reply = _fetch(probe, level, _XML)
    try:
        return [read_native(part.body) for part in read_parts(reply)]
    except ValueError as error:
        raise CheckFailed(reply, "a Native DICOM Model in each part", str(error)) from error


@GROUP.shall("xml", "XML comes as multipart/related of application/dicom+xml", "PS3.18 §10.4.4", 12)
def _xml(probe: Probe) -> None:
    reply = expect_media_type(expect_status(_fetch(probe, "instance", _XML), 200), MULTIPART)
    expect_equal(reply, "type", root_type(reply), DICOM_XML)


@GROUP.shall("xml-series", "XML of a series has a part for each instance", "PS3.18 §8.7.3.2", 12)
def _xml_series(probe: Probe) -> None:
    wanted = sorted(probe.sample(name).sop_uid for name in ("ct1", "ct2", "ct3"))
    expect_equal(None, "instances", sorted(values(_read_xml(probe, "series"), SOP_UID)), wanted)


@GROUP.shall("xml-same", "XML has what JSON has", "PS3.18 §10.4.1.1.2; PS3.19 §A.1", 12, 17)
def _xml_same(probe: Probe) -> None:
    xml, json = _read_xml(probe, "instance")[0], fetch_instance(probe)
    expect_equal(None, "attributes", sorted(xml), sorted(json))
    for tag in ("00100010", "00080060", "00280010"):
        got, wanted = xml.get(tag, {}).get("Value"), json.get(tag, {}).get("Value")
        expect_equal(None, f"the value of {tag}", got, wanted)


@GROUP.practice("gzip", "JSON is sent in gzip where gzip is accepted", "RFC 9110 §12.5.3", 18)
def _gzip(probe: Probe) -> None:
    path = f"{probe.specimen.series_path}/metadata"
    reply = probe.get(path, headers={"Accept-Encoding": "gzip"})
    expect_equal(reply, "Content-Encoding", reply.header("content-encoding"), "gzip")
    plain = read_json(probe.get(path))
    is_same = gzip.decompress(reply.body) == probe.get(path).body
    expect(is_same, reply, f"{len(plain)} data sets as without gzip", "others")


@GROUP.shall("no-coding", "no content coding is used that was not accepted", "RFC 9110 §12.5.3", 18)
def _no_coding(probe: Probe) -> None:
    headers = {"Accept-Encoding": "identity"}
    reply = probe.get(f"{probe.specimen.series_path}/metadata", headers=headers)
    expect_equal(reply, "Content-Encoding", reply.header("content-encoding"), None)
    read_data_sets(reply)


@GROUP.practice(
    "one-of-many", "each instance of a series can be read alone", "PS3.18 §10.4.1.1.2", 12
)
def _one_of_many(probe: Probe) -> None:
    for name in ("ct2", "ct3", "report", "frames", "rle"):
        sample = probe.sample(name)
        reply = expect_status(probe.get(f"{sample.path}/metadata"), 200)
        expect_equal(reply, "instance", values(read_data_sets(reply), SOP_UID), [sample.sop_uid])
