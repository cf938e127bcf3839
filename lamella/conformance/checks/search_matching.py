"""How attributes are matched.

Each row of the tables is one search and the studies of the run that it has to find. Most are
narrowed by the run's own Patient ID, so that other people's data do not matter.

Source:
    PS3.18 §8.3.4.1, §10.6.1.2; PS3.4 §C.2.2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from lamella.conformance.check import Group, Level
from lamella.conformance.expect import expect, expect_equal, read_results, value, values
from lamella.conformance.outcomes import NotOffered, NotRun
from lamella.conformance.probe import SOP_UID, STUDY_UID, Probe
from lamella.conformance.samples import CT_CLASS, PRIVATE_CREATOR, SampleSet, make_uid

GROUP = Group("match", "Search: matching")
SHALL, SHOULD, PRACTICE = Level.SHALL, Level.SHOULD, Level.PRACTICE


@dataclass(frozen=True)
class _Search:
    """One row: a query in which {names} of `_fill` stand for the run's values.

    Attributes:
        finds: Names of studies, by spaces.
        path: `/studies` and the like, with {names} too.
    """

    name: str
    title: str
    query: str
    finds: str
    path: str = "/studies"
    level: Level = SHALL
    section: str = "PS3.18 §8.3.4.1.1"
    rules: tuple[int, ...] = (6,)


_BASIC = "PS3.18 §10.6.1.2.3, Table 10.6.1-5"
_SINGLE, _WILD, _RANGE = "PS3.4 §C.2.2.2.1", "PS3.4 §C.2.2.2.4", "PS3.4 §C.2.2.2.5"
_MINE = "PatientID={id}"

_SEARCHES = (
    _Search("patient-id", "PatientID matches", "PatientID={id}", "ct frames coded",
            section=_BASIC),
    _Search("patient-id-tag", "a key may be a tag", "00100020={id}", "ct frames coded", rules=(5,),
            section="PS3.18 §8.3.4.1"),
    _Search("tag-lower-case", "a tag may be in small letters", "0020000d={ct_uid}", "ct",
            rules=(5,), section="PS3.18 §8.3.1 (8HEXDIG)"),
    _Search("patient-id-none", "another PatientID does not match", "PatientID={id}0", "",
            section=_BASIC),
    _Search("study-uid", "StudyInstanceUID matches", "StudyInstanceUID={ct_uid}", "ct",
            section=_BASIC),
    _Search("study-uid-none", "an unknown StudyInstanceUID matches nothing",
            "StudyInstanceUID={new_uid}", "", section=_BASIC),
    _Search("uid-list", "a list of UIDs by commas matches any of them",
            "StudyInstanceUID={ct_uid},{rich_uid}", "ct rich",
            section="PS3.18 §8.3.4.1; PS3.4 §C.2.2.2.2"),
    _Search("uid-list-encoded", "the commas of a UID list may be percent-encoded",
            "StudyInstanceUID={ct_uid}%2C{rich_uid}", "ct rich", section="PS3.4 §C.2.2.2.2",
            level=PRACTICE),
    _Search("uid-list-backslash", "a list of UIDs by backslashes matches any of them",
            "StudyInstanceUID={ct_uid}%5C{rich_uid}", "ct rich", section="PS3.4 §C.2.2.2.2",
            level=PRACTICE),
    _Search("accession-number", "AccessionNumber matches", "AccessionNumber={word}A1", "ct",
            section=_BASIC),
    _Search("study-id", "StudyID matches", "StudyID={word}S2", "frames", section=_BASIC),
    _Search("study-id-none", "another StudyID does not match", _MINE + "&StudyID={word}S9", "",
            section=_BASIC),
    _Search("referring-physician", "ReferringPhysicianName matches",
            "ReferringPhysicianName={word}Ref1%5ERita", "ct", section=_BASIC),
    _Search("patient-name", "PatientName matches as a whole",
            "PatientName={word}Alpha%5EAnna%5EMaria", "ct frames coded", section=_BASIC),
    _Search("patient-name-none", "another PatientName does not match",
            _MINE + "&PatientName={word}Omega%5EOla", "", section=_BASIC),
    _Search("patient-name-case", "PatientName matches in either case",
            "PatientName={lower}ALPHA%5Eanna%5EMARIA", "ct frames coded", section=_SINGLE,
            level=PRACTICE),
    _Search("study-description", "StudyDescription matches", "StudyDescription={word}%20Loop",
            "frames", section=_SINGLE, level=SHOULD),
    _Search("plus", "a plus sign in a query is a space, as forms write it",
            "StudyDescription={word}+Loop", "frames", section="HTML form encoding",
            level=PRACTICE),
    _Search("wildcard-star", "* stands for any characters", "PatientName={word}Al*",
            "ct frames coded", section=_WILD),
    _Search("wildcard-star-encoded", "* may be percent-encoded", "PatientName={word}Al%2A",
            "ct frames coded", section=_WILD),
    _Search("wildcard-front", "* may stand in front", "PatientName=*{tail}Alpha%5EAnna*",
            "ct frames coded", section=_WILD),
    _Search("wildcard-middle", "* may stand in the middle", "AccessionNumber={word}*1", "ct",
            section=_WILD),
    _Search("wildcard-both", "* may stand on both sides", "StudyDescription=*{tail}*hest*", "ct",
            section=_WILD, level=SHOULD),
    _Search("wildcard-empty", "* stands for no character as well", "StudyID={word}S1*", "ct",
            section=_WILD),
    _Search("wildcard-question", "? stands for one character", "AccessionNumber={word}A?&" + _MINE,
            "ct frames coded", section=_WILD),
    _Search("wildcard-question-encoded", "? may be percent-encoded", "AccessionNumber={word}%3F1",
            "ct", section=_WILD),
    _Search("wildcard-question-one", "? stands for one character, not for none",
            _MINE + "&AccessionNumber={word}A1?", "", section=_WILD),
    _Search("wildcard-all", "* alone matches any value", _MINE + "&AccessionNumber=*",
            "ct frames coded", section="PS3.4 §C.2.2.2.4"),
    _Search("case-sensitive", "values other than names match in their own case",
            "AccessionNumber={lower}a1", "", section=_SINGLE),
    _Search("case-sensitive-wildcard",
            "wildcards of values other than names match in their own case",
            "AccessionNumber={lower}a*", "", section=_WILD),
    _Search("percent-literal", "a percent sign stands for itself", "AccessionNumber={word}%25", "",
            section=_SINGLE),
    _Search("underscore-literal", "an underscore stands for itself", "AccessionNumber={word}A_",
            "", section=_SINGLE),
    _Search("bracket-literal", "brackets stand for themselves", "AccessionNumber={word}%5BA%5D1",
            "", section=_SINGLE),
    _Search("quote-literal", "a quotation mark stands for itself",
            "PatientName={word}%27%20OR%201%3D1", "", section=_SINGLE),
    _Search("date", "StudyDate matches", _MINE + "&StudyDate=20200115", "ct", section=_BASIC),
    _Search("date-range", "a date range matches", _MINE + "&StudyDate=20200101-20200131", "ct",
            section=_RANGE),
    _Search("date-range-bounds", "a date range has its bounds in it",
            _MINE + "&StudyDate=20200115-20200220", "ct frames", section=_RANGE),
    _Search("date-range-until", "a date range may have no beginning",
            _MINE + "&StudyDate=-20200131", "ct", section=_RANGE),
    _Search("date-range-from", "a date range may have no end", _MINE + "&StudyDate=20200201-",
            "frames coded", section=_RANGE),
    _Search("date-range-none", "a date range without studies matches nothing",
            _MINE + "&StudyDate=20220101-20221231", "", section=_RANGE),
    _Search("time-range", "a time range matches", _MINE + "&StudyTime=100000-105959", "ct",
            section=_RANGE + ", " + _BASIC),
    _Search("time-range-until", "a time range may have no beginning", _MINE + "&StudyTime=-1000",
            "coded", section=_RANGE),
    _Search("time-range-from", "a time range may have no end", _MINE + "&StudyTime=1045-",
            "frames", section=_RANGE),
    _Search("date-time-range", "date and time ranges combine into one of date and time",
            _MINE + "&StudyDate=20200115-20210310&StudyTime=104500-090000", "frames",
            section="PS3.18 §8.3.4.1.1; PS3.4 §C.2.2.2.5.3"),
    _Search("modalities", "ModalitiesInStudy matches a modality of the study",
            _MINE + "&ModalitiesInStudy=CT", "ct", section=_BASIC),
    _Search("modalities-second", "ModalitiesInStudy matches any modality of the study",
            _MINE + "&ModalitiesInStudy=SR", "ct", section=_BASIC),
    _Search("modalities-none", "ModalitiesInStudy does not match what is not there",
            _MINE + "&ModalitiesInStudy=PT", "", section=_BASIC),
    _Search("modalities-list", "a list in ModalitiesInStudy means any of them",
            _MINE + "&ModalitiesInStudy=CT,OT", "ct frames coded", section="OHIF's study list",
            level=PRACTICE, rules=(4,)),
    _Search("modalities-list-encoded", "the commas of that list may be percent-encoded",
            _MINE + "&ModalitiesInStudy=CT%2CPT", "ct", section="OHIF's study list",
            level=PRACTICE, rules=(4,)),
    _Search("and", "several keys all have to match",
            _MINE + "&StudyDate=20200101-20201231&AccessionNumber={word}A2", "frames",
            section="PS3.4 §C.4.1.3.1"),
    _Search("and-none", "keys that contradict each other match nothing",
            "AccessionNumber={word}A1&StudyID={word}S2", "", section="PS3.4 §C.4.1.3.1"),
    _Search("universal", "an empty value matches anything", _MINE + "&AccessionNumber=",
            "ct frames coded", section="PS3.4 §C.2.2.2.3"),
    _Search("charset-latin", "a name in ISO 8859-1 is found in UTF-8",
            "PatientName={word}Gamma%5EJ%C3%B6rg", "latin", section="PS3.18 §8.3.4.1 (5), §8.8"),
    _Search("charset-latin-wildcard", "so it is by a wildcard",
            "PatientName={word}Gamma%5EJ%C3%B6*", "latin", section=_WILD),
    _Search("charset-text", "a description in ISO 8859-1 is found in UTF-8",
            "StudyDescription={word}%20Gr%C3%B6%C3%9Fe", "latin", section="PS3.18 §8.3.4.1 (5)",
            level=SHOULD),
    _Search("charset-cyrillic", "a name in ISO 8859-5 is found in UTF-8",
            "PatientName={word}Delta%5E%D0%98%D0%B2%D0%B0%D0%BD", "cyrillic",
            section="PS3.18 §8.3.4.1 (5), §8.8"),
    _Search("charset-ideographic", "an ideographic name in ISO 2022 is found in UTF-8",
            "PatientName=*%E5%B1%B1%E7%94%B0*&PatientID={id5}", "japanese",
            section="PS3.18 §8.3.4.1 (5); PS3.4 §C.2.2.2.1.1", level=SHOULD),
    _Search("charset-alphabetic", "the alphabetic group of such a name is found alone",
            "PatientName={word}Epsilon%5ETarou*", "japanese", section="PS3.4 §C.2.2.2.1.1",
            level=SHOULD),
    _Search("series-modality", "Modality matches at the series level", "Modality=SR", "ct",
            "/studies/{ct_uid}/series", section=_BASIC),
    _Search("series-modality-none", "another Modality does not match", "Modality=PT", "",
            "/studies/{ct_uid}/series", section=_BASIC),
    _Search("series-number", "SeriesNumber matches", "SeriesNumber=7", "ct",
            "/studies/{ct_uid}/series", section=_BASIC),
    _Search("series-number-none", "another SeriesNumber does not match", "SeriesNumber=70", "",
            "/studies/{ct_uid}/series", section=_BASIC),
    _Search("series-uid", "SeriesInstanceUID matches", "SeriesInstanceUID={ct_series}", "ct",
            "/series", section=_BASIC),
    _Search("series-study-key", "All Series can be narrowed by attributes of the study",
            _MINE + "&AccessionNumber={word}A2", "frames", "/series",
            section="PS3.18 §10.6.1.2.3, Table 10.6.1-4"),
    _Search("step-date", "PerformedProcedureStepStartDate matches",
            "PerformedProcedureStepStartDate=20200115", "ct", "/studies/{ct_uid}/series",
            section=_BASIC),
    _Search("step-date-none", "another such date does not match",
            "PerformedProcedureStepStartDate=20200116", "", "/studies/{ct_uid}/series",
            section=_BASIC),
    _Search("step-time", "PerformedProcedureStepStartTime matches",
            "PerformedProcedureStepStartTime=1020-1030", "ct", "/studies/{ct_uid}/series",
            section=_BASIC),
    _Search("step-time-none", "another such time does not match",
            "PerformedProcedureStepStartTime=1026-1030", "", "/studies/{ct_uid}/series",
            section=_BASIC),
    _Search("sequence-keyword", "an attribute in a sequence matches, by keywords",
            "RequestAttributesSequence.ScheduledProcedureStepID={word}SPS", "ct",
            "/studies/{ct_uid}/series", section=_BASIC + "; §8.3.4.1", rules=(5,)),
    _Search("sequence-tag", "an attribute in a sequence matches, by tags",
            "00400275.00401001={word}RP", "ct", "/studies/{ct_uid}/series",
            section=_BASIC + "; §8.3.4.1", rules=(5,)),
    _Search("sequence-none", "another value in a sequence does not match",
            "00400275.00400009={word}X", "", "/studies/{ct_uid}/series",
            section=_BASIC + "; §8.3.4.1", rules=(5,)),
    _Search("instance-class", "SOPClassUID matches", "SOPClassUID={ct_class}", "ct",
            "/studies/{ct_uid}/instances", section=_BASIC),
    _Search("instance-class-none", "another SOPClassUID does not match",
            "SOPClassUID={ct_class}.9", "", "/studies/{ct_uid}/instances", section=_BASIC),
    _Search("instance-study-key",
            "All Instances can be narrowed by attributes of study and series",
            "StudyID={word}S1&Modality=SR", "ct", "/instances",
            section="PS3.18 §10.6.1.2.3, Table 10.6.1-4"),
    _Search("timezone", "dates are read in the offset from UTC that the request names",
            _MINE + "&StudyDate=20200115&TimezoneOffsetFromUTC=%2B0100", "ct",
            section="PS3.18 §8.3.4.1.1", level=SHOULD),
)  # fmt: skip


def _fill(run: SampleSet, text: str) -> str:
    return text.format(
        word=run.word,
        tail=run.word[1:],
        lower=run.word.lower(),
        id=run.patient_id(1),
        id5=run.patient_id(5),
        new_uid=make_uid(),
        ct_uid=run.study_uids["ct"],
        rich_uid=run.study_uids["rich"],
        ct_series=run["ct1"].series_uid,
        ct_class=CT_CLASS,
    )


def _require(row: _Search, probe: Probe) -> None:
    """End the check if the server did not take what the search has to find."""
    probe.sample("report" if "=SR" in row.query else "ct1")
    there = {probe.samples[name].study for name in probe.stored}
    missing = set(row.finds.split()) - there
    if missing:
        raise NotRun(f"The server did not take the samples of {', '.join(sorted(missing))}.")


def _run_search(row: _Search, probe: Probe) -> None:
    _require(row, probe)
    run = probe.samples
    found = probe.find(_fill(run, row.path), _fill(run, row.query))
    expect_equal(probe.trail[-1], "the studies", sorted(found), sorted(row.finds.split()))


for _row in _SEARCHES:
    GROUP.add(
        _row.level, _row.name, _row.title, _row.section, _row.rules, partial(_run_search, _row)
    )


def _found_numbers(probe: Probe, query: str) -> list[int]:
    ct = probe.sample("ct1")
    found = values(probe.search(f"{ct.series_path}/instances", query), "00200013")
    return sorted(int(number) for number in found)


@GROUP.shall("instance-number", "InstanceNumber matches", _BASIC, 6)
def _instance_number(probe: Probe) -> None:
    expect_equal(None, "instances", _found_numbers(probe, "InstanceNumber=2"), [2])


@GROUP.shall("instance-uid", "SOPInstanceUID matches", _BASIC, 6)
def _instance_uid(probe: Probe) -> None:
    uid = probe.sample("ct3").sop_uid
    found = values(probe.search("/instances", f"SOPInstanceUID={uid}"), SOP_UID)
    expect_equal(None, "instances", found, [uid])


@GROUP.shall("instance-uid-list", "a list of SOPInstanceUIDs matches any of them", _BASIC, 6)
def _instance_uid_list(probe: Probe) -> None:
    uids = sorted(probe.sample(name).sop_uid for name in ("ct1", "ct3"))
    path = f"{probe.sample('ct1').study_path}/instances"
    found = values(probe.search(path, f"SOPInstanceUID={','.join(uids)}"), SOP_UID)
    expect_equal(None, "instances", sorted(found), uids)


@GROUP.shall("own-patient", "PatientID narrows to the patient", _BASIC, 6)
def _own_patient(probe: Probe) -> None:
    """In a read-only run, too: by the patient of the study that is looked at."""
    own = probe.search("/studies", f"StudyInstanceUID={probe.specimen.study_uid}")
    patient_id = value(own[0], "00100020")
    if not patient_id:
        raise NotOffered("The study has no Patient ID.")
    found = probe.search("/studies", f"PatientID={quote(str(patient_id), safe='')}")
    ids, uids = values(found, "00100020"), values(found, STUDY_UID)
    expect(probe.specimen.study_uid in uids, None, "the patient's study", uids)
    expect(set(ids) == {patient_id}, None, f"patients {patient_id} only", set(ids))


def _warns(probe: Probe, query: str, word: str, is_honoured: Callable[[], bool]) -> None:
    """Check that a kind of matching is honoured, or a Warning says that it is not."""
    reply = probe.get("/studies", query)
    read_results(reply)
    texts = " ".join(reply.values("warning"))
    if "299" in texts and word in texts and "not supported" in texts:
        return
    wanted = f"{word} honoured, or a Warning 299 that it is not supported"
    expect(is_honoured(), reply, wanted, "neither")


@GROUP.shall("fuzzy", "fuzzymatching=true is honoured, or warned of", "PS3.18 §8.3.4.2", 4)
def _fuzzy(probe: Probe) -> None:
    query = f"PatientName={probe.sample('ct1').ds.PatientName.family_name}&fuzzymatching=true"
    _warns(probe, query, "fuzzymatching", lambda: "ct" in probe.find("/studies", query))


@GROUP.shall(
    "fuzzy-text", "the Warning about fuzzymatching has its exact words", "PS3.18 §8.3.4.2", 4
)
def _fuzzy_text(probe: Probe) -> None:
    reply = probe.get("/studies", f"PatientID={make_uid()}&fuzzymatching=true")
    texts = [text for text in reply.values("warning") if "fuzzymatching" in text]
    wanted = (
        "The fuzzymatching parameter is not supported. Only literal matching has been performed."
    )
    expect(all(wanted in text for text in texts), reply, wanted, texts)


@GROUP.shall("fuzzy-false", "fuzzymatching=false is matching as usual", "PS3.18 §8.3.4.2", 4)
def _fuzzy_false(probe: Probe) -> None:
    query = f"PatientName={probe.sample('ct1').ds.PatientName.family_name}*"
    usual = probe.find("/studies", query)
    found = probe.find("/studies", f"{query}&fuzzymatching=false")
    expect_equal(None, "the studies", sorted(found), sorted(usual))
    texts = [text for text in probe.trail[-1].values("warning") if "fuzzymatching" in text]
    expect_equal(None, "Warnings about it", texts, [])


@GROUP.should(
    "empty-value", "emptyvaluematching=true is honoured, or warned of", "PS3.18 §8.3.4.5 (2022)", 4
)
def _empty_value(probe: Probe) -> None:
    document = probe.sample("document")
    query = f"PatientID={document.ds.PatientID}&AccessionNumber=%22%22&emptyvaluematching=true"
    other = query.replace(document.ds.PatientID, probe.sample("ct1").ds.PatientID)

    def is_honoured() -> bool:
        return probe.find("/studies", query) == {"document"} and not probe.find("/studies", other)

    _warns(probe, query, "emptyvaluematching", is_honoured)


@GROUP.should(
    "multiple-value",
    "multiplevaluematching=true is honoured, or warned of",
    "PS3.18 §8.3.4.6 (2022)",
    4,
)
def _multiple_value(probe: Probe) -> None:
    own = f"PatientID={probe.sample('report').ds.PatientID}&multiplevaluematching=true"
    both, neither = (f"{own}&ModalitiesInStudy={names}" for names in ("CT,SR", "CT,OT"))

    def is_honoured() -> bool:
        return probe.find("/studies", both) == {"ct"} and not probe.find("/studies", neither)

    _warns(probe, both, "multiplevaluematching", is_honoured)


@GROUP.should("private", "a private attribute matches with its creator", "PS3.18 §8.3.4.1 (4)", 7)
def _private(probe: Probe) -> None:
    ct = probe.sample("ct1")
    creator = quote(PRIVATE_CREATOR)
    path = f"{ct.study_path}/instances"
    hit = f"00090010={creator}&00091001={probe.samples.word}%20P"
    found = values(probe.search(path, hit), SOP_UID)
    wanted = sorted(probe.sample(name).sop_uid for name in ("ct1", "ct2", "ct3"))
    expect_equal(None, "instances", sorted(found), wanted)
    found = values(probe.search(path, f"00090010={creator}&00091001=other"), SOP_UID)
    expect_equal(None, "instances", found, [])
