"""Storing: what is wrong, in whole or in part, and what comes twice or at once.

Every check stores into a study of its own, which is taken away at the end of the run.

Source:
    PS3.18 §10.5 and Annex I.
"""

from __future__ import annotations

from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.crowd import search_during, send_together
from lamella.conformance.deposits import (
    CLASS_UID,
    FAILED,
    OTHER,
    REASON,
    REFERENCE_UID,
    REFERENCED,
    expect_absent,
    expect_stored,
    list_items,
    make_instance,
    read_module,
    store,
)
from lamella.conformance.expect import (
    DICOM,
    DICOM_JSON,
    expect,
    expect_equal,
    expect_refusal,
    expect_status,
    require_offered,
    value,
)
from lamella.conformance.multipart import join_parts, wrap
from lamella.conformance.outcomes import NotOffered, NotRun
from lamella.conformance.probe import Probe
from lamella.conformance.samples import make_uid, write_file

GROUP = Group("refuse", "Storing: refusals and repeats")
_RESPONSE = "PS3.18 §10.5.3.1, Table 10.5.3-1"
_MODULE = "PS3.18 Annex I.1"
_GARBAGE = b"This is no DICOM file. " * 8


@GROUP.shall("garbage", "a part that is no DICOM is refused", _RESPONSE, 21)
def _garbage(probe: Probe) -> None:
    expect_status(require_offered(probe.store([wrap(_GARBAGE)], []), "Storing"), 409, 400)


@GROUP.shall("some-garbage", "one good part and one of garbage is 202", _RESPONSE, 21)
def _some_garbage(probe: Probe) -> None:
    ds = make_instance(probe)
    parts = [wrap(write_file(ds)), wrap(_GARBAGE)]
    reply = require_offered(probe.store(parts, [str(ds.StudyInstanceUID)]), "Storing")
    expect_status(reply, 202)
    expect_stored(probe, ds)


@GROUP.shall("some-garbage-module", "garbage is told of in the response", _MODULE, 22)
def _some_garbage_module(probe: Probe) -> None:
    ds = make_instance(probe)
    parts = [wrap(write_file(ds)), wrap(_GARBAGE)]
    reply = require_offered(probe.store(parts, [str(ds.StudyInstanceUID)]), "Storing")
    module = read_module(expect_status(reply, 202, 200))
    items = list_items(module, FAILED) + list_items(module, OTHER)
    expect_equal(reply, "items that failed:", len(items), 1)
    reason = value(items[0], REASON)
    expect(isinstance(reason, int) and reason > 0, reply, "a Failure Reason", reason)


@GROUP.shall(
    "other-study", "an instance of another study than the path's is refused", _RESPONSE, 23
)
def _other_study(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds], path=f"/studies/{make_uid()}"), 409)
    expect_absent(probe, ds)


@GROUP.should("other-study-reason", "that it failed, and why, is in the response", _MODULE, 22, 23)
def _other_study_reason(probe: Probe) -> None:
    ds = make_instance(probe)
    reply = expect_status(store(probe, [ds], path=f"/studies/{make_uid()}"), 409, 202, 200)
    items = list_items(read_module(reply), FAILED)
    expect_equal(reply, "items that failed:", len(items), 1)
    got = [value(items[0], tag) for tag in (CLASS_UID, REFERENCE_UID)]
    expect_equal(reply, "class and instance", got, [str(ds.SOPClassUID), str(ds.SOPInstanceUID)])
    reason = value(items[0], REASON)
    expect(isinstance(reason, int) and reason > 0, reply, "a Failure Reason", reason)


@GROUP.shall(
    "no-referenced", "there is no Referenced SOP Sequence where nothing was stored", _MODULE, 22
)
def _no_referenced(probe: Probe) -> None:
    ds = make_instance(probe)
    reply = expect_status(store(probe, [ds], path=f"/studies/{make_uid()}"), 409, 202, 200)
    if reply.media_type != DICOM_JSON:
        raise NotOffered("A refusal has no Store Instances Response Module.")
    expect(not list_items(read_module(reply), REFERENCED), reply, "no (0008,1199)", "some")


@GROUP.shall(
    "mixed-studies", "of instances of two studies the path's are stored: 202", _RESPONSE, 23
)
def _mixed_studies(probe: Probe) -> None:
    own, other = make_instance(probe), make_instance(probe)
    reply = expect_status(store(probe, [own, other], path=f"/studies/{own.StudyInstanceUID}"), 202)
    expect_equal(reply, "stored", len(list_items(read_module(reply), REFERENCED)), 1)
    expect_stored(probe, own)
    expect_absent(probe, other)


@GROUP.shall("truncated", "a body that is cut off stores nothing, and is 400", _RESPONSE, 24)
def _truncated(probe: Probe) -> None:
    ds = make_instance(probe)
    content_type, body = join_parts([wrap(write_file(ds))], DICOM)
    headers = {"Content-Type": content_type, "Accept": DICOM_JSON}
    reply = probe.post("/studies", headers, body[:-150], [str(ds.StudyInstanceUID)])
    expect_status(require_offered(reply, "Storing"), 400)
    expect_absent(probe, ds)


@GROUP.shall("no-boundary", "a body that does not keep to its boundary is 400", _RESPONSE, 24)
def _no_boundary(probe: Probe) -> None:
    content_type, body = join_parts([wrap(write_file(make_instance(probe)))], DICOM)
    headers = {
        "Content-Type": content_type.replace("boundary=", "boundary=x"),
        "Accept": DICOM_JSON,
    }
    reply = probe.post("/studies", headers, body, [])
    expect_status(require_offered(reply, "Storing"), 400)


@GROUP.shall("absent-boundary", "multipart without a boundary is 400", _RESPONSE, 24)
def _absent_boundary(probe: Probe) -> None:
    headers = {"Content-Type": 'multipart/related; type="application/dicom"', "Accept": DICOM_JSON}
    reply = probe.post("/studies", headers, b"--x\r\n\r\n--x--", [])
    expect_status(require_offered(reply, "Storing"), 400, 415)


@GROUP.shall("empty", "a request without a body is 400", _RESPONSE, 21)
def _empty(probe: Probe) -> None:
    content_type, _ = join_parts([], DICOM)
    reply = probe.post("/studies", {"Content-Type": content_type, "Accept": DICOM_JSON}, b"", [])
    expect_status(require_offered(reply, "Storing"), 400)


def _is_415(content_type: str, probe: Probe) -> None:
    headers = {"Content-Type": content_type, "Accept": DICOM_JSON}
    reply = probe.post("/studies", headers, b"--x\r\n\r\ntext\r\n--x--\r\n", [])
    expect_status(require_offered(reply, "Storing"), 415)


for _name, _title, _content_type in (
    ("415", "text/plain is an unsupported media type", "text/plain"),
    (
        "415-root",
        "multipart of text/plain is, too",
        'multipart/related; type="text/plain"; boundary=x',
    ),
):
    GROUP.add(Level.SHALL, _name, _title, _RESPONSE, (21,), partial(_is_415, _content_type))


@GROUP.shall(
    "no-content-type", "a request without a Content-Type is refused", "PS3.18 §10.5.1.3", 21
)
def _no_content_type(probe: Probe) -> None:
    reply = probe.post("/studies", {"Accept": DICOM_JSON}, write_file(make_instance(probe)), [])
    expect_refusal(require_offered(reply, "Storing"))


@GROUP.shall("no-uid", "an instance without a SOP Instance UID is refused", "PS3.18 §10.5.2", 21)
def _no_uid(probe: Probe) -> None:
    ds = make_instance(probe)
    file = write_file(ds).replace(b"\x08\x00\x18\x00UI", b"\x08\x00\x19\x00UI", 1)
    reply = probe.store([wrap(file)], [str(ds.StudyInstanceUID)])
    expect_status(require_offered(reply, "Storing"), 409, 400)


@GROUP.practice(
    "cut-instance", "an instance that is cut off is refused, or kept as it is", "PS3.18 §10.5.2", 21
)
def _cut_instance(probe: Probe) -> None:
    ds = make_instance(probe)
    reply = probe.store([wrap(write_file(ds)[:300])], [str(ds.StudyInstanceUID)])
    expect(reply.status < 500, reply, "no 5xx", reply.summarise())


@GROUP.should("problem-body", "a refusal says what is wrong", "PS3.18 §8.5", 30)
def _problem_body(probe: Probe) -> None:
    reply = probe.post("/studies", {"Content-Type": "text/plain"}, b"text", [])
    expect_refusal(require_offered(reply, "Storing"))
    expect(len(reply.body) > 0, reply, "a Status Report", "no body")


@GROUP.practice(
    "again",
    "storing the same again succeeds, or says that it is there",
    "dcm4chee-arc-light#4754",
    26,
)
def _again(probe: Probe) -> None:
    ds = make_instance(probe)
    expect_status(store(probe, [ds]), 200)
    expect_status(store(probe, [ds]), 200, 202, 409)
    expect_stored(probe, ds)
    found = probe.search(f"/studies/{ds.StudyInstanceUID}/instances")
    expect_equal(None, "instances:", len(found), 1)


@GROUP.practice(
    "twice-in-one", "the same instance twice in a request is kept once", "PS3.18 §10.5.2", 26
)
def _twice(probe: Probe) -> None:
    ds = make_instance(probe)
    reply = store(probe, [ds, ds])
    expect_status(reply, 200, 202)
    expect_stored(probe, ds)
    found = probe.search(f"/studies/{ds.StudyInstanceUID}/instances")
    expect_equal(None, "instances:", len(found), 1)


@GROUP.practice(
    "together", "two clients that store the same leave one whole instance", "dcm4che#1112", 26
)
def _together(probe: Probe) -> None:
    ds = make_instance(probe)
    file = write_file(ds)
    if probe.is_read_only:
        raise NotRun("It stores, and this run is read-only.")
    probe.studies[str(ds.StudyInstanceUID)] = None
    replies = send_together(probe, [file] * 4)
    require_offered(replies[0], "Storing")
    worst = max(reply.status for reply in replies)
    expect(worst < 500, replies[0], "no 5xx", worst)
    expect_stored(probe, ds)


@GROUP.practice(
    "search-meanwhile", "searches during stores do not fail", "dcm4chee-arc-light#1877", 26
)
def _search_meanwhile(probe: Probe) -> None:
    found = [make_instance(probe) for _ in range(6)]
    probe.studies.update(dict.fromkeys(str(ds.StudyInstanceUID) for ds in found))
    replies = search_during(probe, [write_file(ds) for ds in found])
    failed = [reply for reply in replies if reply.status not in (200, 204)]
    expect(not failed, failed[0] if failed else None, "200", [reply.status for reply in failed])


@GROUP.practice(
    "elsewhere", "POST to what takes no instances is 405 or 404", "PS3.18 §10.5.1.1", 27
)
def _elsewhere(probe: Probe) -> None:
    content_type, body = join_parts([wrap(_GARBAGE)], DICOM)
    path = f"{probe.specimen.series_path}/instances"
    reply = probe.post(path, {"Content-Type": content_type, "Accept": DICOM_JSON}, body, [])
    expect_status(reply, 404, 405, 501)
