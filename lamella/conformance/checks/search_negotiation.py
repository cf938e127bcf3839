"""Media types of searches, and searches that are wrong.

Source:
    PS3.18 §8.3, §8.7.5 and §10.6.4.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from lamella.conformance.check import Group, Level
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM_JSON,
    DICOM_XML,
    MULTIPART,
    DataSet,
    expect,
    expect_equal,
    expect_media_type,
    expect_refusal,
    expect_status,
    read_data_sets,
    read_json,
    read_parts,
    read_results,
    require_offered,
    root_type,
)
from lamella.conformance.native_xml import read_native
from lamella.conformance.outcomes import CheckFailed, NotOffered
from lamella.conformance.probe import STUDY_UID, Probe
from lamella.conformance.samples import make_uid

GROUP = Group("negotiate", "Search: media types and errors")
_XML = 'multipart/related; type="application/dicom+xml"'


def _ask(probe: Probe, accept: str | None, more: str = "") -> Reply:
    query = f"StudyInstanceUID={probe.specimen.study_uid}"
    return probe.get("/studies", "&".join(filter(None, [query, more])), accept)


def _expect_json(reply: Reply) -> None:
    expect_media_type(reply, DICOM_JSON)
    expect_equal(reply, "results:", len(read_data_sets(reply)), 1)


def _is_json(accept: str | None, probe: Probe) -> None:
    _expect_json(_ask(probe, accept))


for _name, _title, _accept, _level, _rules in (
    ("any", "*/* gives the default media type", "*/*", Level.SHALL, (11,)),
    ("none", "no Accept gives the default media type", None, Level.SHALL, (11,)),
    ("range", "application/* gives DICOM JSON", "application/*", Level.SHOULD, (11, 13)),
    (
        "ohif",
        "an Accept list as OHIF sends it is no 406",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        Level.SHALL,
        (11,),
    ),
    (
        "browser",
        "a browser's Accept is no 406",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        Level.SHALL,
        (11, 13),
    ),
    (
        "unknown-first",
        "what is unknown in a list is passed over",
        "image/x-none, application/dicom+json",
        Level.SHALL,
        (13,),
    ),
    ("case", "media types are read in either case", "Application/DICOM+JSON", Level.SHALL, (13,)),
    (
        "charset",
        "a charset parameter of UTF-8 is no obstacle",
        "application/dicom+json; charset=utf-8",
        Level.SHALL,
        (13,),
    ),
    (
        "invalid-member",
        "a member of a list that is none is passed over",
        "garbage, application/dicom+json",
        Level.PRACTICE,
        (13,),
    ),
):
    GROUP.add(
        _level, _name, _title, "PS3.18 §8.7.5; RFC 9110 §12.5.1", _rules, partial(_is_json, _accept)
    )


@GROUP.practice("json", "application/json gives JSON", "PS3.18 §8.7.3.2", 10)
def _json(probe: Probe) -> None:
    reply = expect_status(_ask(probe, "application/json"), 200)
    expect_media_type(reply, "application/json", DICOM_JSON)
    read_data_sets(reply)


def _xml_results(probe: Probe, accept: str = _XML) -> tuple[Reply, list[DataSet]]:
    reply = _ask(probe, accept)
    try:
        return reply, [read_native(part.body) for part in read_parts(reply)]
    except ValueError as error:
        raise CheckFailed(reply, "a Native DICOM Model in each part", str(error)) from error


@GROUP.shall("xml", "XML comes as multipart/related of application/dicom+xml", "PS3.18 §10.6.4", 10)
def _xml(probe: Probe) -> None:
    reply = expect_media_type(expect_status(_ask(probe, _XML), 200), MULTIPART)
    expect_equal(reply, "type", root_type(reply), DICOM_XML)


@GROUP.shall("xml-parts", "each part of XML is application/dicom+xml", "PS3.18 §8.7.3.2", 10, 15)
def _xml_parts(probe: Probe) -> None:
    kinds = {part.media_type for part in read_parts(_ask(probe, _XML))}
    expect_equal(None, "media types of parts", kinds, {DICOM_XML})


@GROUP.shall("xml-model", "each part of XML is a Native DICOM Model", "PS3.19 §A.1", 10)
def _xml_model(probe: Probe) -> None:
    reply, found = _xml_results(probe)
    uids = [item.get(STUDY_UID, {}).get("Value") for item in found]
    expect_equal(reply, "study UIDs", uids, [[probe.specimen.study_uid]])


@GROUP.shall("xml-same", "XML has what JSON has", "PS3.18 §10.6.3.3", 10)
def _xml_same(probe: Probe) -> None:
    reply, found = _xml_results(probe)
    wanted = read_data_sets(_ask(probe, DICOM_JSON))
    expect_equal(reply, "attributes", sorted(found[0]), sorted(wanted[0]))


@GROUP.shall("xml-unquoted", "the type parameter may be without quotation marks", "PS3.18 §8.7", 13)
def _xml_unquoted(probe: Probe) -> None:
    _xml_results(probe, _XML.replace('"', ""))


@GROUP.shall("quality", "the media type of the greater q-value is sent", "RFC 9110 §12.5.1", 13)
def _quality(probe: Probe) -> None:
    xml_first = _ask(probe, f"application/dicom+json;q=0.2, {_XML};q=0.9")
    expect_media_type(expect_status(xml_first, 200), MULTIPART)
    _expect_json(_ask(probe, f"application/dicom+json;q=0.9, {_XML};q=0.2"))


@GROUP.shall("quality-zero", "a media type with q=0 is not sent", "RFC 9110 §12.4.2", 13)
def _quality_zero(probe: Probe) -> None:
    reply = _ask(probe, f"application/dicom+json;q=0, {_XML}")
    expect_media_type(expect_status(reply, 200), MULTIPART)


@GROUP.shall("unacceptable", "nothing acceptable is 406", "PS3.18 §8.7.5, §8.5", 10)
def _unacceptable(probe: Probe) -> None:
    expect_status(_ask(probe, "image/png"), 406)


@GROUP.shall("accept-parameter", "the query parameter accept chooses", "PS3.18 §8.3.3.1", 13)
def _accept_parameter(probe: Probe) -> None:
    reply = _ask(probe, "*/*", f"accept={quote(_XML, safe='/')}")
    expect_media_type(expect_status(reply, 200), MULTIPART)


@GROUP.shall("accept-parameter-json", "accept=application/dicom+json works", "PS3.18 §8.3.3.1", 13)
def _accept_parameter_json(probe: Probe) -> None:
    _expect_json(_ask(probe, "*/*", "accept=application/dicom%2Bjson"))


@GROUP.shall("charset-unknown", "an unknown charset parameter is refused", "PS3.18 §8.3.3.2", 9)
def _charset_unknown(probe: Probe) -> None:
    expect_status(_ask(probe, DICOM_JSON, "charset=x-no-such-charset"), 400)


@GROUP.shall("charset-parameter", "charset=utf-8 is taken", "PS3.18 §8.3.3.2", 9)
def _charset_parameter(probe: Probe) -> None:
    _expect_json(_ask(probe, DICOM_JSON, "charset=utf-8"))


@GROUP.shall("unknown-parameter", "an unknown parameter is ignored", "PS3.18 §8.3", 9)
def _unknown_parameter(probe: Probe) -> None:
    _expect_json(_ask(probe, DICOM_JSON, "nosuchparameter=1"))


@GROUP.shall("unknown-attribute", "an unknown attribute is ignored", "PS3.18 §8.3", 9)
def _unknown_attribute(probe: Probe) -> None:
    _expect_json(_ask(probe, DICOM_JSON, "NoSuchAttribute=1"))


@GROUP.practice("unknown-warning", "a Warning 299 names what was ignored", "PS3.18 §8.3", 9)
def _unknown_warning(probe: Probe) -> None:
    reply = _ask(probe, DICOM_JSON, "nosuchparameter=1")
    texts = reply.values("warning")
    expect(
        any("nosuchparameter" in text for text in texts), reply, "a Warning that names it", texts
    )


def _refuses(query: str, probe: Probe) -> None:
    expect_status(probe.get("/studies", query), 400)


for _name, _title, _query, _level in (
    ("bad-date", "a date that is none is refused", "StudyDate=yesterday", Level.SHALL),
    ("bad-month", "a date in a thirteenth month is refused", "StudyDate=20201301", Level.SHALL),
    ("bad-time", "a time that is none is refused", "StudyTime=noon", Level.SHALL),
    ("bad-uid", "a UID that is none is refused", "StudyInstanceUID=not-a-uid", Level.SHALL),
    ("bad-fuzzy", "fuzzymatching=maybe is refused", "fuzzymatching=maybe", Level.SHALL),
    ("bad-encoding", "a query that is no UTF-8 is refused", "PatientName=%FF%FE", Level.PRACTICE),
):
    GROUP.add(_level, _name, _title, "PS3.18 §8.3", (9,), partial(_refuses, _query))


@GROUP.practice("bad-tag", "a tag of seven digits is ignored or refused", "PS3.18 §8.3.1", 9)
def _bad_tag(probe: Probe) -> None:
    reply = _ask(probe, DICOM_JSON, "0010002=X")
    if reply.status != 200:
        expect_refusal(reply)


@GROUP.practice(
    "problem-media-type", "an error is application/json or problem+json", "RFC 9457", 30
)
def _problem_media_type(probe: Probe) -> None:
    reply = expect_refusal(probe.get("/studies", "limit=abc"))
    expect_media_type(reply, "application/json", "application/problem+json")


@GROUP.practice("problem-detail", "an error has title and detail", "RFC 9457 §3.1", 30)
def _problem_detail(probe: Probe) -> None:
    reply = expect_refusal(probe.get("/studies", "limit=abc"))
    found = read_json(reply)
    has_both = isinstance(found, dict) and bool(found.get("title")) and bool(found.get("detail"))
    expect(has_both, reply, "title and detail", found)


@GROUP.should("problem-body", "an error says what is wrong", "PS3.18 §8.5", 30)
def _problem_body(probe: Probe) -> None:
    reply = expect_refusal(probe.get("/studies", "limit=abc"))
    expect(len(reply.body) > 0, reply, "a Status Report", "no body")


@GROUP.practice("problem-traceback", "an error shows nothing of the server's inside", "CWE-209", 30)
def _problem_traceback(probe: Probe) -> None:
    for query in ("limit=abc", "StudyDate=yesterday", "StudyInstanceUID=not-a-uid"):
        body = probe.get("/studies", query).body.lower()
        signs = [
            sign
            for sign in (b"traceback", b"exception in", b'.py"', b"stack trace", b"at java.")
            if sign in body
        ]
        expect(not signs, probe.trail[-1], "no traceback", signs)


@GROUP.practice(
    "long-query", "a long list of UIDs is searched for", "RFC 9112 §3 (8,000 octets)", 6
)
def _long_query(probe: Probe) -> None:
    uids = [make_uid() for _ in range(120)]
    query = "StudyInstanceUID=" + ",".join([*uids, probe.specimen.study_uid])
    reply = require_offered(probe.get("/studies", query), "So long a query", 413, 414)
    expect_equal(reply, "results:", len(read_results(reply)), 1)


@GROUP.practice("strange-query", "no strange query makes the server fail", "PS3.18 §8.5", 9)
def _strange_query(probe: Probe) -> None:
    for query in ("PatientName=%00", "=", "&&", "PatientID", "StudyDate=-", "limit=", "%"):
        reply = probe.get("/studies", f"{query}&PatientID={make_uid()}")
        expect(reply.status < 500, reply, "no 5xx", reply.summarise())


@GROUP.should(
    "406-body", "a 406 says which media types there are", "PS3.18 §8.5, Table 8.5-1", 10, 30
)
def _body_of_406(probe: Probe) -> None:
    reply = _ask(probe, "image/png")
    if reply.status != 406:
        raise NotOffered("No 406 came.")
    expect(b"dicom" in reply.body, reply, "the media types", reply.body[:200])
