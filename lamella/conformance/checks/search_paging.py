"""Pages of results, and what a request asks to be included in them.

Source:
    PS3.18 §8.3.4.3 and §8.3.4.4.
"""

from __future__ import annotations

from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.checks.search_resources import pick, search_specimen
from lamella.conformance.expect import (
    DataSet,
    expect,
    expect_equal,
    expect_status,
    read_results,
    value,
    values,
)
from lamella.conformance.outcomes import NotRun
from lamella.conformance.probe import SERIES_UID, SOP_UID, STUDY_UID, Probe
from lamella.conformance.samples import PRIVATE_CREATOR

GROUP = Group("page", "Search: pages")
INCLUDE = Group("include", "Search: includefield")

_PAGING = "PS3.18 §8.3.4.4.1"
_MORE = "additional results that can be requested"


def _all_instances(probe: Probe) -> list[str]:
    """Return the instances of a series with at least two, in the server's order."""
    uids = values(probe.search(f"{probe.specimen.series_path}/instances"), SOP_UID)
    if len(uids) < 2:
        raise NotRun("The series that is looked at has a single instance.")
    return uids


def _page(probe: Probe, query: str) -> list[str]:
    return values(probe.search(f"{probe.specimen.series_path}/instances", query), SOP_UID)


@GROUP.shall("limit", "limit bounds the number of results", _PAGING, 2)
def _limit(probe: Probe) -> None:
    _all_instances(probe)
    expect_equal(None, "results:", len(_page(probe, "limit=1")), 1)


@GROUP.shall("limit-beyond", "a limit beyond the matches returns all of them", _PAGING, 2)
def _limit_beyond(probe: Probe) -> None:
    uids = _all_instances(probe)
    expect_equal(None, "results", sorted(_page(probe, f"limit={len(uids) + 5}")), sorted(uids))


@GROUP.should("limit-zero", "limit=0 returns no results", _PAGING, 2)
def _limit_zero(probe: Probe) -> None:
    _all_instances(probe)
    expect_equal(None, "results", _page(probe, "limit=0"), [])


@GROUP.shall("offset", "offset skips matches", _PAGING, 2)
def _offset(probe: Probe) -> None:
    uids = _all_instances(probe)
    expect_equal(None, "results", _page(probe, "offset=1"), uids[1:])


@GROUP.shall("offset-beyond", "an offset beyond the matches finds nothing", _PAGING, 1, 2)
def _offset_beyond(probe: Probe) -> None:
    uids = _all_instances(probe)
    expect_equal(None, "results", _page(probe, f"offset={len(uids)}"), [])


@GROUP.shall("pages", "pages one after the other hold each match once", _PAGING, 2)
def _pages(probe: Probe) -> None:
    uids = _all_instances(probe)
    found = [uid for n in range(len(uids)) for uid in _page(probe, f"limit=1&offset={n}")]
    expect_equal(None, "results", sorted(found), sorted(uids))


@GROUP.shall("stable", "the same search has the same order each time", _PAGING, 2)
def _stable(probe: Probe) -> None:
    wanted = _all_instances(probe)
    path = f"{probe.specimen.series_path}/instances"
    for _ in range(3):
        again = values(read_results(probe.get(path, fresh=True)), SOP_UID)
        expect_equal(None, "the order", again, wanted)


@GROUP.shall("studies", "pages of studies hold each match once", _PAGING, 2)
def _study_pages(probe: Probe) -> None:
    probe.sample("frames")
    query = f"PatientID={probe.samples.patient_id(1)}"
    wanted = values(probe.search("/studies", query), STUDY_UID)
    found = [
        uid
        for n in range(len(wanted))
        for uid in values(probe.search("/studies", f"{query}&limit=1&offset={n}"), STUDY_UID)
    ]
    expect_equal(None, "results", sorted(found), sorted(wanted))


@GROUP.shall("series", "pages of series hold each match once", _PAGING, 2)
def _series_pages(probe: Probe) -> None:
    path = f"{probe.sample('report').study_path}/series"
    wanted = values(probe.search(path), SERIES_UID)
    pages = (probe.search(path, f"limit=1&offset={n}") for n in range(2))
    found = [uid for page in pages for uid in values(page, SERIES_UID)]
    expect_equal(None, "results", sorted(found), sorted(wanted))


@GROUP.shall("more", "a Warning 299 says that there are more results", _PAGING, 3)
def _more(probe: Probe) -> None:
    _all_instances(probe)
    _page(probe, "limit=1")
    reply = probe.trail[-1]
    texts = reply.values("warning")
    is_said = any(text.startswith("299 ") and _MORE in text for text in texts)
    expect(is_said, reply, f"Warning: 299 …: There are … {_MORE}", texts or "no Warning")


@GROUP.shall("no-more", "there is no such Warning on the last page", _PAGING, 3)
def _no_more(probe: Probe) -> None:
    _all_instances(probe)
    texts = [text for text in probe.trail[-1].values("warning") if _MORE in text]
    expect_equal(probe.trail[-1], "Warnings", texts, [])


@GROUP.shall("study-limit", "limit bounds a search for studies", _PAGING, 2)
def _study_limit(probe: Probe) -> None:
    found = probe.search("/studies", "limit=1")
    expect_equal(None, "results:", len(found), 1)


def _refuses(query: str, probe: Probe) -> None:
    expect_status(probe.get("/studies", query), 400)


for _name, _query in (
    ("limit-negative", "limit=-1"),
    ("limit-text", "limit=abc"),
    ("offset-negative", "offset=-1"),
    ("offset-text", "offset=abc"),
):
    GROUP.add(
        Level.SHALL, _name, f"{_query} is refused", "PS3.18 §8.3", (9,), partial(_refuses, _query)
    )


_INCLUDED = "PS3.18 §8.3.4.3"


def _includes(probe: Probe, resource: str, query: str, *tags: str) -> DataSet:
    item = pick(probe, resource, query)
    missing = [tag for tag in tags if tag not in item]
    expect(not missing, probe.trail[-1], f"{', '.join(tags)} included", f"no {missing}")
    return item


@INCLUDE.shall("keyword", "includefield takes a keyword", _INCLUDED, 7)
def _keyword(probe: Probe) -> None:
    ct = probe.sample("ct1")
    item = _includes(probe, "studies", "includefield=StudyDescription", "00081030")
    expect_equal(None, "it", value(item, "00081030"), ct.ds.StudyDescription)


@INCLUDE.shall("tag", "includefield takes a tag", _INCLUDED, 7)
def _tag(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "studies", "includefield=00081030", "00081030")


@INCLUDE.shall("list", "includefield takes a list by commas", _INCLUDED, 7)
def _list(probe: Probe) -> None:
    probe.sample("ct1")
    query = "includefield=RescaleIntercept,00281053"
    _includes(probe, "series-instances", query, "00281052", "00281053")


@INCLUDE.practice("list-encoded", "the commas of that list may be percent-encoded", "OHIF", 7)
def _list_encoded(probe: Probe) -> None:
    probe.sample("ct1")
    query = "includefield=RescaleIntercept%2C00281053"
    _includes(probe, "series-instances", query, "00281052", "00281053")


@INCLUDE.shall("repeated", "includefield may be repeated", _INCLUDED, 7)
def _repeated(probe: Probe) -> None:
    probe.sample("ct1")
    query = "includefield=RescaleIntercept&includefield=RescaleSlope"
    _includes(probe, "series-instances", query, "00281052", "00281053")


@INCLUDE.shall("series", "includefield works at the series level", "PS3.18 §10.6.3.3.2", 7)
def _series(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "study-series", "includefield=SeriesDescription", "0008103E")


@INCLUDE.shall(
    "series-upper", "a series result can include study attributes", "PS3.18 §10.6.3.3.2", 7, 8
)
def _series_upper(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "study-series", "includefield=StudyDescription", "00081030")


@INCLUDE.shall(
    "instance-upper", "an instance result can include series attributes", "PS3.18 §10.6.3.3.3", 7, 8
)
def _instance_upper(probe: Probe) -> None:
    probe.sample("ct1")
    query = "includefield=SeriesDescription,StudyDescription"
    _includes(probe, "series-instances", query, "0008103E", "00081030")


@INCLUDE.shall("sequence", "a sequence can be included", _INCLUDED, 7)
def _sequence(probe: Probe) -> None:
    probe.sample("ct1")
    item = _includes(probe, "study-series", "includefield=RequestAttributesSequence", "00400275")
    expect_equal(None, "vr", item["00400275"].get("vr"), "SQ")


@INCLUDE.shall("all-studies", "includefield=all includes every study attribute", _INCLUDED, 7)
def _all_studies(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "studies", "includefield=all", "00081030", "00100040", "00080050")


@INCLUDE.shall("all-series", "includefield=all includes every series attribute", _INCLUDED, 7)
def _all_series(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "study-series", "includefield=all", "0008103E", "00200052")


@INCLUDE.shall("all-instances", "includefield=all includes every instance attribute", _INCLUDED, 7)
def _all_instance_attributes(probe: Probe) -> None:
    probe.sample("ct1")
    _includes(probe, "series-instances", "includefield=all", "00281052", "00080008", "00200032")


@INCLUDE.shall("matched", "an attribute that is matched is returned", "PS3.18 §10.6.3.3.1", 7)
def _matched(probe: Probe) -> None:
    word = probe.sample("ct1").ds.StudyDescription.split()[0]
    _includes(probe, "studies", f"StudyDescription={word}*", "00081030")


def _lower_is_left_out(resource: str, keyword: str, tag: str, probe: Probe) -> None:
    item = pick(probe, resource, f"includefield={keyword}")
    expect(tag not in item, probe.trail[-1], f"no {keyword}", item.get(tag))


for _name, _resource, _keyword_, _tag_, _section in (
    ("lower-series", "studies", "SeriesDescription", "0008103E", "§10.6.3.3.1"),
    ("lower-instance", "studies", "SOPInstanceUID", "00080018", "§10.6.3.3.1"),
    ("lower-of-series", "study-series", "SOPInstanceUID", "00080018", "§10.6.3.3.2"),
):
    INCLUDE.add(
        Level.SHALL,
        _name,
        f"{_keyword_} of a lower level is not included",
        f"PS3.18 {_section}",
        (8,),
        partial(_lower_is_left_out, _resource, _keyword_, _tag_),
    )


@INCLUDE.shall("unknown", "an unknown includefield is ignored", "PS3.18 §8.3", 9)
def _unknown(probe: Probe) -> None:
    found = search_specimen(probe, "studies", "includefield=NoSuchAttribute")
    expect_equal(None, "results:", len(found), 1)


@INCLUDE.should("private", "a private attribute is included with its creator", _INCLUDED, 7)
def _private(probe: Probe) -> None:
    ct = probe.sample("ct1")
    query = f"00090010={PRIVATE_CREATOR.replace(' ', '%20')}&includefield=00091001"
    found = probe.search(f"{ct.series_path}/instances", query)
    got = [value(item, "00091001") for item in found]
    expect_equal(None, "it", got, [f"{probe.samples.word} P"] * 3)
    creators = [value(item, "00090010") for item in found]
    expect_equal(None, "its creator", creators, [PRIVATE_CREATOR] * 3)
