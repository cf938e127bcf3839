"""Searches at every level: that they answer, and what they return.

Source:
    PS3.18 §10.6.1.1 and §10.6.3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.dicom_json import list_faults, same_values
from lamella.conformance.expect import (
    DICOM_JSON,
    DataSet,
    expect,
    expect_equal,
    expect_media_type,
    expect_refusal,
    expect_status,
    read_results,
    value,
    values,
)
from lamella.conformance.probe import SERIES_UID, SOP_UID, STUDY_UID, Probe, Specimen
from lamella.conformance.samples import make_uid

GROUP = Group("search", "Search: resources and results")
RETRIEVE_URL = "00081190"

Place = Callable[[Specimen], tuple[str, str]]

RESOURCES: dict[str, tuple[str, Place, str]] = {
    "studies": (
        "All Studies",
        lambda s: ("/studies", f"StudyInstanceUID={s.study_uid}"),
        STUDY_UID,
    ),
    "study-series": ("Study's Series", lambda s: (f"{s.study_path}/series", ""), SERIES_UID),
    "study-instances": ("Study's Instances", lambda s: (f"{s.study_path}/instances", ""), SOP_UID),
    "series": (
        "All Series",
        lambda s: ("/series", f"SeriesInstanceUID={s.series_uid}"),
        SERIES_UID,
    ),
    "series-instances": (
        "Study's Series' Instances",
        lambda s: (f"{s.series_path}/instances", ""),
        SOP_UID,
    ),
    "instances": (
        "All Instances",
        lambda s: ("/instances", f"SOPInstanceUID={s.sop_uid}"),
        SOP_UID,
    ),
}
"""By name: the standard's name, path and query for a specimen, the tag of the results' UID."""

_UIDS = {STUDY_UID: "study_uid", SERIES_UID: "series_uid", SOP_UID: "sop_uid"}


def search_specimen(probe: Probe, resource: str, query: str = "") -> list[DataSet]:
    """Return what a search for the specimen at one resource finds.

    Args:
        probe: The server.
        resource: A key of `RESOURCES`.
        query: More parameters.
    """
    path, own = RESOURCES[resource][1](probe.specimen)
    return probe.search(path, "&".join(filter(None, [own, query])))


def pick(probe: Probe, resource: str, query: str = "") -> DataSet:
    """Return the specimen among the results of such a search; fail if it is not there."""
    tag = RESOURCES[resource][2]
    wanted = getattr(probe.specimen, _UIDS[tag])
    found = search_specimen(probe, resource, query)
    hits = [item for item in found if value(item, tag) == wanted]
    expect(bool(hits), probe.trail[-1], f"a result with {tag} {wanted}", f"{len(found)} others")
    return hits[0]


def _answers(resource: str, probe: Probe) -> None:
    pick(probe, resource)


def _is_unique(resource: str, probe: Probe) -> None:
    uids = values(search_specimen(probe, resource), RESOURCES[resource][2])
    expect_equal(probe.trail[-1], "each UID once:", sorted(uids), sorted(set(uids)))


def _is_sound(resource: str, probe: Probe) -> None:
    faults = [fault for item in search_specimen(probe, resource) for fault in list_faults(item)]
    expect(not faults, probe.trail[-1], "DICOM JSON model objects", "; ".join(faults[:3]))


for _name, (_standard_name, _place, _tag) in RESOURCES.items():
    GROUP.add(
        Level.SHALL,
        _name,
        f"{_standard_name} can be searched",
        "PS3.18 §10.6.1.1, Table 10.6.1-1",
        (5,),
        partial(_answers, _name),
    )
    GROUP.add(
        Level.SHALL,
        f"{_name}-unique",
        f"{_standard_name}: each result comes once",
        "PS3.18 §10.6.3.3",
        (2,),
        partial(_is_unique, _name),
    )
    GROUP.add(
        Level.SHALL,
        f"{_name}-model",
        f"{_standard_name}: results are DICOM JSON model objects",
        "PS3.18 §F.2.2",
        (17,),
        partial(_is_sound, _name),
    )


@GROUP.shall("content-type", "results come as application/dicom+json", "PS3.18 §10.6.4", 10)
def _content_type(probe: Probe) -> None:
    path, query = RESOURCES["studies"][1](probe.specimen)
    expect_media_type(expect_status(probe.get(path, query), 200), DICOM_JSON)


@GROUP.shall(
    "content-length",
    "an answer has a length, or a content coding",
    "PS3.18 §10.6.3.2, Table 10.6.3-2",
    10,
)
def _content_length(probe: Probe) -> None:
    path, query = RESOURCES["studies"][1](probe.specimen)
    reply = expect_status(probe.get(path, query), 200)
    has_either = reply.header("content-length") or reply.header("content-encoding")
    expect(bool(has_either), reply, "Content-Length or Content-Encoding", "neither")


def _search_nothing(probe: Probe) -> tuple[str, str]:
    return "/studies", f"StudyInstanceUID={make_uid()}"


@GROUP.shall("no-match", "no match is 200 with [], or 204", "PS3.18 §8.3.4.4.1, §10.6.3.1", 1)
def _no_match(probe: Probe) -> None:
    reply = probe.get(*_search_nothing(probe))
    expect_status(reply, 200, 204)
    expect_equal(reply, "no results:", read_results(reply), [])


@GROUP.practice("no-match-body", "no match is 200 with an empty array", "PS3.18 §8.3.4.4.1", 1)
def _no_match_body(probe: Probe) -> None:
    reply = expect_status(probe.get(*_search_nothing(probe)), 200)
    expect_equal(reply, "the body", reply.body.strip(), b"[]")


@GROUP.practice(
    "unknown-study",
    "a search within an unknown study finds nothing, or is 404",
    "PS3.18 §10.6.3.1",
    1,
)
def _unknown_study(probe: Probe) -> None:
    reply = probe.get(f"/studies/{make_uid()}/series")
    if reply.status != 404:
        expect_equal(reply, "no results:", read_results(reply), [])


@GROUP.shall(
    "other-study", "a study's series are its own only", "PS3.18 §10.6.1.1, Table 10.6.1-2", 5
)
def _other_study(probe: Probe) -> None:
    found = values(search_specimen(probe, "study-series"), STUDY_UID)
    wanted = {probe.specimen.study_uid}
    expect(set(found) <= wanted | {None}, probe.trail[-1], f"series of {wanted}", set(found))
    own = {probe.specimen.series_uid}
    if not probe.is_read_only:
        own |= {probe.sample("ct1").series_uid, probe.sample("report").series_uid}
        uids = set(values(search_specimen(probe, "study-series"), SERIES_UID))
        expect_equal(probe.trail[-1], "the series", uids, own)


@GROUP.shall(
    "series-in-study", "a series in another study's path is not found", "PS3.18 §10.6.1.1", 5
)
def _series_in_study(probe: Probe) -> None:
    other = probe.sample("frames")
    path = f"{other.study_path}/series/{probe.sample('ct1').series_uid}/instances"
    reply = probe.get(path)
    if reply.status != 404:
        expect_equal(reply, "no results:", read_results(reply), [])


@GROUP.practice(
    "path-uid", "a path that holds no UID is refused or finds nothing", "PS3.18 §8.5", 9
)
def _path_uid(probe: Probe) -> None:
    reply = probe.get("/studies/not-a-uid/series")
    if reply.status not in (200, 204):
        expect_refusal(reply)
    else:
        expect_equal(reply, "no results:", read_results(reply), [])


# What each level returns (Tables 10.6.3-3 to 10.6.3-5): tag, VR, name, values of the sample ct1.

_STUDY = (
    ("00080020", "DA", "StudyDate"),
    ("00080030", "TM", "StudyTime"),
    ("00080050", "SH", "AccessionNumber"),
    ("00080090", "PN", "ReferringPhysicianName"),
    ("00100010", "PN", "PatientName"),
    ("00100020", "LO", "PatientID"),
    ("00100030", "DA", "PatientBirthDate"),
    ("00100040", "CS", "PatientSex"),
    ("0020000D", "UI", "StudyInstanceUID"),
    ("00200010", "SH", "StudyID"),
    ("00080201", "SH", "TimezoneOffsetFromUTC"),
)
_SERIES = (
    ("00080060", "CS", "Modality"),
    ("0008103E", "LO", "SeriesDescription"),
    ("0020000E", "UI", "SeriesInstanceUID"),
    ("00200011", "IS", "SeriesNumber"),
    ("00400244", "DA", "PerformedProcedureStepStartDate"),
    ("00400245", "TM", "PerformedProcedureStepStartTime"),
)
_INSTANCE = (
    ("00080016", "UI", "SOPClassUID"),
    ("00080018", "UI", "SOPInstanceUID"),
    ("00200013", "IS", "InstanceNumber"),
    ("00280010", "US", "Rows"),
    ("00280011", "US", "Columns"),
    ("00280100", "US", "BitsAllocated"),
)
_TABLES = (
    ("studies", "study", _STUDY, "PS3.18 §10.6.3.3.1, Table 10.6.3-3"),
    ("study-series", "series", _SERIES, "PS3.18 §10.6.3.3.2, Table 10.6.3-4"),
    ("series-instances", "instance", _INSTANCE, "PS3.18 §10.6.3.3.3, Table 10.6.3-5"),
)


def _returns(resource: str, tag: str, vr: str, keyword: str, probe: Probe) -> None:
    if probe.is_read_only:
        if tag in probe.specimen.attributes:
            expect(tag in pick(probe, resource), probe.trail[-1], f"{keyword} ({tag})", "none")
        return
    ds = probe.sample("ct1").ds
    element = pick(probe, resource).get(tag)
    expect(element is not None, probe.trail[-1], f"{keyword} ({tag})", "none")
    found = element or {}
    expect_equal(probe.trail[-1], f"vr of {keyword}", found.get("vr"), vr)
    stored = getattr(ds, keyword)
    wanted = [{"Alphabetic": str(stored)}] if vr == "PN" else [stored]
    is_same = same_values(vr, found.get("Value"), wanted)
    expect(is_same, probe.trail[-1], f"{keyword} {wanted}", found.get("Value"))


for _resource, _level, _table, _section in _TABLES:
    for _row_tag, _row_vr, _row_name in _table:
        # Of the offset from UTC, PS3.18 says "if known": a server may keep no note of it.
        GROUP.add(
            Level.SHOULD if _row_name == "TimezoneOffsetFromUTC" else Level.SHALL,
            f"{_level}-returns-{_row_name}",
            f"a {_level} result has {_row_name}",
            _section,
            (8,),
            partial(_returns, _resource, _row_tag, _row_vr, _row_name),
        )


def _counts(resource: str, tag: str, wanted: int, probe: Probe) -> None:
    probe.sample("report")
    found = value(pick(probe, resource), tag)
    expect(str(found) == str(wanted), probe.trail[-1], f"{tag} = {wanted}", found)


for _resource, _row_tag, _row_name, _wanted in (
    ("studies", "00201206", "NumberOfStudyRelatedSeries", 2),
    ("studies", "00201208", "NumberOfStudyRelatedInstances", 4),
    ("study-series", "00201209", "NumberOfSeriesRelatedInstances", 3),
):
    GROUP.add(
        Level.SHALL,
        f"returns-{_row_name}",
        f"{_row_name} is counted right",
        "PS3.18 §10.6.3.3, Tables 10.6.3-3 and 10.6.3-4",
        (8,),
        partial(_counts, _resource, _row_tag, _wanted),
    )


@GROUP.shall(
    "study-returns-ModalitiesInStudy",
    "a study result has the modalities of all its series",
    "PS3.18 §10.6.3.3.1, Table 10.6.3-3",
    8,
)
def _modalities(probe: Probe) -> None:
    probe.sample("report")
    found = pick(probe, "studies").get("00080061", {}).get("Value") or []
    expect_equal(probe.trail[-1], "ModalitiesInStudy", sorted(found), ["CT", "SR"])


@GROUP.shall(
    "series-returns-RequestAttributesSequence",
    "a series result has the IDs of its request",
    "PS3.18 §10.6.3.3.2, Table 10.6.3-4",
    8,
)
def _request_attributes(probe: Probe) -> None:
    ct = probe.sample("ct1")
    items = pick(probe, "study-series").get("00400275", {}).get("Value") or [{}]
    found = [value(items[0], "00400009"), value(items[0], "00401001")]
    request = ct.ds.RequestAttributesSequence[0]
    wanted = [request.ScheduledProcedureStepID, request.RequestedProcedureID]
    expect_equal(probe.trail[-1], "step and procedure ID", found, wanted)


@GROUP.shall(
    "instance-returns-NumberOfFrames",
    "a result for a multi-frame instance has NumberOfFrames",
    "PS3.18 §10.6.3.3.3, Table 10.6.3-5",
    8,
)
def _number_of_frames(probe: Probe) -> None:
    sample = probe.sample("frames")
    found = values(probe.search(f"{sample.series_path}/instances"), "00280008")
    expect_equal(probe.trail[-1], "NumberOfFrames", [str(item) for item in found], ["3"])


def _has_retrieve_url(resource: str, probe: Probe) -> None:
    url = value(pick(probe, resource), RETRIEVE_URL)
    shown = probe.trail[-1]
    expect(isinstance(url, str), shown, "a Retrieve URL (0008,1190)", url)
    suffix = {
        "studies": probe.specimen.study_path,
        "study-series": probe.specimen.series_path,
        "series-instances": probe.specimen.path,
    }[resource]
    expect(str(url).endswith(suffix), shown, f"a URL that ends in {suffix}", url)
    reply = probe.get(f"{url}/metadata")
    expect(reply.status == 200, reply, "200 for its metadata", reply.summarise())


for _resource, _level, _, _section in _TABLES:
    GROUP.add(
        Level.SHALL,
        f"{_level}-returns-RetrieveURL",
        f"a {_level} result has a Retrieve URL that works",
        _section,
        (8, 29),
        partial(_has_retrieve_url, _resource),
    )


def _has_upper(resource: str, tags: tuple[str, ...], probe: Probe) -> None:
    item = pick(probe, resource)
    missing = [tag for tag in tags if tag not in item]
    expect(not missing, probe.trail[-1], "attributes of the levels above", f"none of {missing}")


for _resource, _level, _tags, _section in (
    ("series", "study", (STUDY_UID, "00100010", "00100020", "00080020"), "§10.6.3.3.2"),
    ("instances", "study", (STUDY_UID, "00100010", "00100020", "00080020"), "§10.6.3.3.3"),
    ("instances", "series", (SERIES_UID, "00080060", "00200011"), "§10.6.3.3.3"),
    ("study-instances", "series", (SERIES_UID, "00080060", "00200011"), "§10.6.3.3.3"),
):
    GROUP.add(
        Level.SHALL,
        f"{_resource}-returns-{_level}",
        f"results of {RESOURCES[_resource][0]} have {_level} attributes too",
        f"PS3.18 {_section}",
        (8,),
        partial(_has_upper, _resource, _tags),
    )


@GROUP.shall(
    "no-file-meta",
    "results have no group 0002 and no Pixel Data",
    "PS3.18 §F.2.2, §10.6.3.3",
    8,
    17,
)
def _no_file_meta(probe: Probe) -> None:
    for resource in ("studies", "series-instances"):
        tags = pick(probe, resource, "includefield=all")
        wrong = [
            t
            for t in tags
            if t.startswith("0002") or ("InlineBinary" in tags[t] and t == "7FE00010")
        ]
        expect(not wrong, probe.trail[-1], "none of them", wrong)
