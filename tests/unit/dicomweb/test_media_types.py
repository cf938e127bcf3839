"""What known clients send, and what they must get."""

from __future__ import annotations

import pytest

from lamella.dicomweb.frame_negotiation import FramesAnswer, negotiate_frames
from lamella.dicomweb.media_types import (
    DICOM_JSON,
    DICOM_XML,
    JSON,
    OCTET_STREAM,
    parse_accept,
    parse_content_type,
)
from lamella.dicomweb.negotiation import (
    BulkAnswer,
    negotiate_bulk,
    negotiate_instances,
    negotiate_json,
)
from lamella.errors import NotAcceptable, UnsupportedMediaType

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
MPEG4 = "1.2.840.10008.1.2.4.102"

BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/jxl,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)
OHIF_FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
OHIF_WSI = ", ".join(
    f'multipart/related; type="{kind}"; transfer-syntax={syntax}'
    for kind, syntax in [
        ("image/jls", JPEG_LS),
        ("image/jls", "1.2.840.10008.1.2.4.81"),
        ("image/jp2", J2K),
        ("image/jp2", "1.2.840.10008.1.2.4.91"),
        ("application/octet-stream", "*"),
        ("image/jpeg", BASELINE),
    ]
)
ALL_JSON = (DICOM_JSON, JSON, DICOM_XML)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, DICOM_JSON),
        ("", DICOM_JSON),
        ("*/*", DICOM_JSON),
        ("application/*", DICOM_JSON),
        (BROWSER, DICOM_JSON),
        ("application/json", JSON),
        ("application/json, text/plain, */*", JSON),
        ("application/json;q=0.5, application/dicom+json;q=0.4", JSON),
        ("application/json;q=0.5, */*", DICOM_JSON),
        ("application/dicom+json;q=0, */*", JSON),
        ("application/dicom+json, multipart/related; type=application/octet-stream", DICOM_JSON),
        ("APPLICATION/DICOM+JSON; charset=utf-8", DICOM_JSON),
        ("@broken, application/json", JSON),
        ('multipart/related; type="application/dicom+xml"', DICOM_XML),
        ("multipart/related; type=application/dicom+xml; transfer-syntax=*", DICOM_XML),
    ],
)
def test_json_negotiation(header, expected):
    answer = negotiate_json(parse_accept(header), ALL_JSON)
    assert (answer.media_type, answer.is_xml) == (expected, expected == DICOM_XML)


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "application/dicom",
        "@broken",
        "*/*;q=0",
        "application/dicom+json;q=0",
        'multipart/related; type="application/dicom+xml"',
    ],
)
def test_json_refusal(header):
    with pytest.raises(NotAcceptable):
        negotiate_json(parse_accept(header))


def test_query_values_win_over_the_header():
    assert negotiate_json(parse_accept(DICOM_JSON, [JSON])).media_type == JSON
    assert negotiate_json(parse_accept(JSON, ["application/dicom json"])).media_type == DICOM_JSON
    assert negotiate_json(parse_accept(JSON, ["", "@broken"])).media_type == JSON
    with pytest.raises(NotAcceptable):
        negotiate_json(parse_accept("*/*", ["image/jpeg"]))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, [(True, None)]),
        ("*/*", [(True, None)]),
        (BROWSER, [(True, None)]),
        ("application/dicom", [(False, None)]),
        ('multipart/related; type="application/dicom"', [(True, None)]),
        ("multipart/related; type=application/dicom; transfer-syntax=*", [(True, "*")]),
        ("multipart/related", [(True, None)]),
        (
            f"multipart/related; type=application/dicom; transfer-syntax={J2K};q=0.5, "
            f"application/dicom; transfer-syntax={EXPLICIT}",
            [(False, EXPLICIT), (True, J2K)],
        ),
        ("application/dicom;q=0, */*", [(True, None)]),
    ],
)
def test_instance_negotiation(header, expected):
    answers = negotiate_instances(parse_accept(header), single_item=True)
    assert [(one.is_multipart, one.transfer_syntax) for one in answers] == expected


@pytest.mark.parametrize("header", ["text/html", "application/dicom", 'a/b; type="', "*/*;q=0"])
def test_instance_refusal(header):
    with pytest.raises(NotAcceptable):
        negotiate_instances(parse_accept(header), single_item=False)


def multipart(kind: str, syntax: str | None = None) -> str:
    return f'multipart/related; type="{kind}"' + (f"; transfer-syntax={syntax}" if syntax else "")


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        (OHIF_FRAMES, EXPLICIT, (True, OCTET_STREAM, EXPLICIT, True)),
        (OHIF_FRAMES, IMPLICIT, (True, OCTET_STREAM, EXPLICIT, True)),
        (OHIF_FRAMES, BIG_ENDIAN, (True, OCTET_STREAM, EXPLICIT, False)),
        (OHIF_FRAMES, JPEG_LS, (True, "image/jls", JPEG_LS, True)),
        (OHIF_FRAMES, RLE, (True, "image/dicom-rle", RLE, True)),
        (OHIF_FRAMES, MPEG4, (True, "video/mp4", MPEG4, True)),
        (OHIF_FRAMES, "1.2.3.4", (True, OCTET_STREAM, "1.2.3.4", True)),
        (OHIF_WSI, JPEG_LS, (True, "image/jls", JPEG_LS, True)),
        (OHIF_WSI, BASELINE, (True, "image/jpeg", BASELINE, True)),
        (OHIF_WSI, RLE, (True, "image/dicom-rle", RLE, True)),
        (OHIF_WSI, EXPLICIT, (True, OCTET_STREAM, EXPLICIT, True)),
        (None, JPEG_LS, (True, OCTET_STREAM, EXPLICIT, False)),
        ("*/*", JPEG_LS, (True, OCTET_STREAM, EXPLICIT, False)),
        ("*/*; transfer-syntax=*", JPEG_LS, (True, "image/jls", JPEG_LS, True)),
        (BROWSER, JPEG_LS, (True, OCTET_STREAM, EXPLICIT, False)),
        ("application/octet-stream", JPEG_LS, (False, OCTET_STREAM, EXPLICIT, False)),
        (multipart(OCTET_STREAM, JPEG_LS), JPEG_LS, (True, "image/jls", JPEG_LS, True)),
        (multipart(OCTET_STREAM, EXPLICIT), JPEG_LS, (True, OCTET_STREAM, EXPLICIT, False)),
        (multipart("image/jpeg"), BASELINE, (True, "image/jpeg", BASELINE, True)),
        (multipart("image/dicom+rle"), RLE, (True, "image/dicom-rle", RLE, True)),
        (multipart("image/*"), J2K, (True, "image/jp2", J2K, True)),
        ("image/jp2", J2K, (False, "image/jp2", J2K, True)),
        (
            f"{multipart('image/jp2', J2K)};q=0.9, {multipart(OCTET_STREAM)};q=0.1",
            JPEG_LS,
            (True, OCTET_STREAM, EXPLICIT, False),
        ),
    ],
)
def test_frame_negotiation(header, stored, expected):
    answer = negotiate_frames(parse_accept(header), stored, single_item=True)
    assert answer == FramesAnswer(*expected)


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (multipart("image/jp2", J2K), JPEG_LS),
        (multipart(OCTET_STREAM, J2K), JPEG_LS),
        (multipart("image/jpeg"), EXPLICIT),
        (multipart(OCTET_STREAM, IMPLICIT), IMPLICIT),
        ("application/octet-stream", EXPLICIT),
        ("application/dicom", EXPLICIT),
    ],
)
def test_frame_refusal(header, stored):
    with pytest.raises(NotAcceptable):
        negotiate_frames(parse_accept(header), stored, single_item=False)


def test_frames_that_cannot_be_decoded_go_out_as_stored():
    accept = parse_accept("*/*")
    answer = negotiate_frames(accept, MPEG4, single_item=True, is_decodable=False)
    assert answer == FramesAnswer(True, "video/mp4", MPEG4, True)
    assert answer.part_content_type == f"video/mp4; transfer-syntax={MPEG4}"
    plain = parse_accept("application/octet-stream")
    with pytest.raises(NotAcceptable):
        negotiate_frames(plain, MPEG4, single_item=True, is_decodable=False)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (False, OCTET_STREAM)),
        ("*/*", (False, OCTET_STREAM)),
        (BROWSER, (False, OCTET_STREAM)),
        ("application/octet-stream", (False, OCTET_STREAM)),
        ("multipart/related; type=application/octet-stream", (True, OCTET_STREAM)),
        (OHIF_FRAMES, (True, OCTET_STREAM)),
        ("application/pdf", (False, "application/pdf")),
    ],
)
def test_bulk_negotiation(header, expected):
    answer = negotiate_bulk(parse_accept(header), (OCTET_STREAM, "application/pdf"))
    assert answer == BulkAnswer(*expected)


def test_bulk_refusal():
    with pytest.raises(NotAcceptable):
        negotiate_bulk(parse_accept("image/png"))


@pytest.mark.parametrize("kind", ["application/dicom", '"application/dicom"'])
def test_content_type_with_and_without_quotes(kind):
    found = parse_content_type(f'Multipart/Related;type={kind}; Boundary="a b\\"c" ;x=1')
    assert found.essence == "multipart/related"
    assert found.parameter("type") == "application/dicom"
    assert found.parameter("boundary") == 'a b"c'
    assert found.parameter("charset") is None


@pytest.mark.parametrize("value", [None, "", "dicom", "*/*", 'a/b; c="', "a/b; c", "a/b, c/d"])
def test_malformed_content_types(value):
    with pytest.raises(UnsupportedMediaType):
        parse_content_type(value)
