"""The URI service (WADO-URI).

Source:
    PS3.18 §9.
"""

from __future__ import annotations

from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.checks.pictures import JPEG, PNG, measure, read_picture
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM,
    expect,
    expect_equal,
    expect_media_type,
    expect_status,
)
from lamella.conformance.outcomes import NotOffered
from lamella.conformance.probe import Probe, Specimen
from lamella.conformance.samples import EXPLICIT_LITTLE, Sample, make_uid, read_file

GROUP = Group("uri", "URI service (WADO-URI)")
_ABSENT = frozenset({404, 405, 501})


def _query(target: Specimen | Sample, more: str = "", leave_out: str = "") -> str:
    names = {
        "requestType": "WADO",
        "studyUID": target.study_uid,
        "seriesUID": target.series_uid,
        "objectUID": target.sop_uid,
    }
    names.pop(leave_out, None)
    query = "&".join(f"{name}={value}" for name, value in names.items())
    return f"{query}&{more}" if more else query


def _get(
    probe: Probe, more: str = "", accept: str = "*/*", target: Specimen | Sample | None = None
) -> Reply:
    _require(probe)
    return probe.get(probe.uri_service, _query(target or probe.specimen, more), accept)


def _require(probe: Probe) -> None:
    """End the check unless the service is there: 404 for what exists says that it is not."""
    query = _query(probe.specimen, "contentType=application/dicom")
    reply = probe.get(probe.uri_service, query, "*/*")
    if reply.status in _ABSENT:
        raise NotOffered(f"There is no URI service at {probe.uri_service}.")


def _require_rendering(probe: Probe) -> None:
    reply = _get(probe, "contentType=image/jpeg")
    if reply.status in (*_ABSENT, 406):
        raise NotOffered("The URI service does not render.")


@GROUP.shall(
    "dicom", "contentType=application/dicom gives the instance", "PS3.18 §9.4.1, §9.4.3.3", 12
)
def _dicom(probe: Probe) -> None:
    reply = expect_status(_get(probe, "contentType=application/dicom"), 200)
    expect_media_type(reply, DICOM)
    got = str(read_file(reply.body).SOPInstanceUID)
    expect_equal(reply, "the instance", got, probe.specimen.sop_uid)


@GROUP.shall("dicom-encoded", "so it does percent-encoded", "RFC 3986 §2.1", 12, 13)
def _dicom_encoded(probe: Probe) -> None:
    reply = expect_status(_get(probe, "contentType=application%2Fdicom"), 200)
    expect_media_type(reply, DICOM)


@GROUP.shall("default-syntax", "it goes out as Explicit VR Little Endian", "PS3.18 §9.4.2.4", 14)
def _default_syntax(probe: Probe) -> None:
    for name in ("frames", "rle"):
        reply = _get(probe, "contentType=application/dicom", target=probe.sample(name))
        got = str(read_file(expect_status(reply, 200).body).file_meta.TransferSyntaxUID)
        expect_equal(reply, "transfer syntax", got, EXPLICIT_LITTLE)


@GROUP.should("transfer-syntax", "transferSyntax chooses", "PS3.18 §9.4.2.4", 14)
def _transfer_syntax(probe: Probe) -> None:
    more = f"contentType=application/dicom&transferSyntax={EXPLICIT_LITTLE}"
    reply = expect_status(_get(probe, more, target=probe.sample("rle")), 200)
    got = str(read_file(reply.body).file_meta.TransferSyntaxUID)
    expect_equal(reply, "transfer syntax", got, EXPLICIT_LITTLE)


@GROUP.should("bad-syntax", "a transferSyntax that is no UID is 400", "PS3.18 §9.4.2.4", 9)
def _bad_syntax(probe: Probe) -> None:
    reply = _get(probe, "contentType=application/dicom&transferSyntax=abc")
    expect_status(reply, 400, 406)


def _is_missing(name: str, probe: Probe) -> None:
    _require(probe)
    query = _query(probe.specimen, "contentType=application/dicom", leave_out=name)
    expect_status(probe.get(probe.uri_service, query, "*/*"), 400)


for _name in ("requestType", "studyUID", "seriesUID", "objectUID"):
    GROUP.add(
        Level.SHALL,
        f"no-{_name}",
        f"a request without {_name} is 400",
        "PS3.18 §9.4.2.1, §9.4.2.2",
        (9, 12),
        partial(_is_missing, _name),
    )


@GROUP.shall("other-request", "a requestType other than WADO is 400", "PS3.18 §9.4.2.1", 9)
def _other_request(probe: Probe) -> None:
    _require(probe)
    query = _query(probe.specimen, "contentType=application/dicom").replace("=WADO&", "=OTHER&")
    expect_status(probe.get(probe.uri_service, query, "*/*"), 400)


@GROUP.shall("unknown", "an unknown instance is 404", "PS3.18 §9.4.3.1", 12)
def _unknown(probe: Probe) -> None:
    _require(probe)
    s = probe.specimen
    target = Specimen(s.study_uid, s.series_uid, make_uid())
    query = _query(target, "contentType=application/dicom")
    expect_status(probe.get(probe.uri_service, query, "*/*"), 404, 410)


@GROUP.shall("406", "a contentType that cannot be had is 406", "PS3.18 §9.1.2.2.1, §8.7.5", 13)
def _unacceptable(probe: Probe) -> None:
    expect_status(_get(probe, "contentType=text/csv"), 406)


@GROUP.shall(
    "default",
    "an image comes as JPEG unless something else is asked for",
    "PS3.18 §9.5, Table 8.7.4-1",
    19,
)
def _default(probe: Probe) -> None:
    _require_rendering(probe)
    read_picture(_get(probe), JPEG)


@GROUP.shall("png", "contentType=image/png gives PNG", "PS3.18 §9.5, Table 8.7.4-1", 19)
def _png(probe: Probe) -> None:
    _require_rendering(probe)
    read_picture(_get(probe, "contentType=image/png"), PNG)


@GROUP.should("frame", "frameNumber chooses", "PS3.18 §9.5.1.2.1", 16, 19)
def _frame(probe: Probe) -> None:
    _require_rendering(probe)
    sample = probe.sample("rle")
    first, second = (
        _get(probe, f"contentType=image/png&frameNumber={n}", target=sample) for n in (1, 2)
    )
    read_picture(first, PNG)
    read_picture(second, PNG)
    expect(first.body != second.body, second, "another picture of frame 2", "the same")


@GROUP.should("rows-columns", "rows and columns scale", "PS3.18 §9.5.1.2.4", 19)
def _rows_columns(probe: Probe) -> None:
    probe.sample("ct1")
    _require_rendering(probe)
    reply = _get(probe, "contentType=image/png&rows=24&columns=32")
    expect_equal(reply, "rows and columns", measure(read_picture(reply)), (24, 32))


@GROUP.should("window", "windowCenter and windowWidth window", "PS3.18 §9.5.1.2.6", 19)
def _window(probe: Probe) -> None:
    probe.sample("ct1")
    _require_rendering(probe)
    reply = _get(probe, "contentType=image/png&windowCenter=5000&windowWidth=10")
    expect_equal(reply, "the lightest pixel", int(read_picture(reply).max()), 0)


@GROUP.should("quality", "an imageQuality that is none is 400", "PS3.18 §9.5.1.2.3", 9, 19)
def _quality(probe: Probe) -> None:
    _require_rendering(probe)
    expect_status(_get(probe, "contentType=image/jpeg&imageQuality=0"), 400)
