"""Frames and bulk data.

Source:
    PS3.18 §10.4.1.1.1, §10.4.1.1.6 and §8.7.3.3.
"""

from __future__ import annotations

from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.checks.metadata import fetch_instance
from lamella.conformance.crowd import read_together
from lamella.conformance.dicom_json import PIXEL_DATA, fetch_bulk, resolve
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    MULTIPART,
    OCTETS,
    expect,
    expect_equal,
    expect_media_type,
    expect_refusal,
    expect_status,
    read_data_sets,
    read_parts,
    read_single_or_parts,
    require_offered,
    root_type,
)
from lamella.conformance.multipart import parse_parameters
from lamella.conformance.outcomes import NotOffered, NotRun
from lamella.conformance.probe import Probe
from lamella.conformance.rich import PDF
from lamella.conformance.samples import EXPLICIT_LITTLE, JPEG, RLE, Sample, make_uid

GROUP = Group("frames", "Frames")
BULK = Group("bulk", "Bulk data")
PLAIN = 'multipart/related; type="application/octet-stream"'
ANY = f"{PLAIN}; transfer-syntax=*"
_SECTION = "PS3.18 §10.4.1.1.1"
_SLIM = (
    'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
    'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50, ' + ANY
)


def _fetch(probe: Probe, frames: str, accept: str | None = PLAIN, name: str = "frames") -> Reply:
    sample = probe.sample(name)
    return probe.get(f"{sample.path}/frames/{frames}", accept=accept)


def _payloads(reply: Reply) -> list[bytes]:
    return [part.body for part in read_parts(reply)]


def _expect_frames(reply: Reply, sample: Sample, *numbers: int) -> None:
    wanted = [sample.frames[number - 1] for number in numbers]
    got = _payloads(reply)
    expect_equal(reply, "frames:", len(got), len(wanted))
    for number, payload, frame in zip(numbers, got, wanted, strict=True):
        # A native frame of odd length may have one byte of padding as a value of its own.
        is_same = payload == frame or (len(frame) % 2 == 1 and payload == frame + b"\0")
        shown = f"{len(payload)} bytes that begin {payload[:8].hex()}"
        expect(is_same, reply, f"frame {number}: {len(frame)} bytes, {frame[:8].hex()}…", shown)


@GROUP.shall("first", "frame 1 of an instance is sent", _SECTION, 16)
def _first(probe: Probe) -> None:
    reply = probe.get(f"{probe.specimen.path}/frames/1", accept=ANY)
    payloads = _payloads(reply)
    expect_equal(reply, "parts:", len(payloads), 1)
    if not probe.is_read_only:
        _expect_frames(reply, probe.sample("ct1"), 1)


def _are_sent(frames: str, numbers: tuple[int, ...], probe: Probe) -> None:
    _expect_frames(_fetch(probe, frames), probe.sample("frames"), *numbers)


for _name, _title, _frames, _numbers, _weight in (
    ("second", "another frame than the first is sent", "2", (2,), Level.SHALL),
    ("last", "the last frame is sent", "3", (3,), Level.SHALL),
    ("list", "a list of frames is sent, a part for each", "1,2,3", (1, 2, 3), Level.SHALL),
    ("gap", "a list with gaps is sent", "1,3", (1, 3), Level.SHALL),
    (
        "list-encoded",
        "the commas of a list may be percent-encoded",
        "1%2C2",
        (1, 2),
        Level.PRACTICE,
    ),
    (
        "order",
        "frames come in the order in which they are asked for",
        "3,1",
        (3, 1),
        Level.PRACTICE,
    ),
    ("twice", "a frame that is asked for twice comes twice", "2,2", (2, 2), Level.PRACTICE),
):
    GROUP.add(_weight, _name, _title, _SECTION, (16,), partial(_are_sent, _frames, _numbers))


def _is_refused(frames: str, statuses: tuple[int, ...], probe: Probe) -> None:
    expect_status(_fetch(probe, frames), *statuses)


for _name, _title, _frames, _statuses, _weight in (
    ("beyond", "a frame beyond the last is 404", "4", (404,), Level.SHALL),
    ("partly-beyond", "a list with such a frame is 404", "1,4", (404,), Level.SHOULD),
    ("zero", "frame 0 is 400", "0", (400, 404), Level.SHALL),
    ("zero-400", "frame 0 is refused as a bad request", "0", (400,), Level.PRACTICE),
    ("text", "a frame that is no number is 400", "abc", (400, 404), Level.SHALL),
    ("negative", "a negative frame is 400", "-1", (400, 404), Level.SHALL),
    (
        "huge",
        "a frame number of many digits is 404",
        "99999999999999999999",
        (400, 404),
        Level.SHALL,
    ),
):
    GROUP.add(
        _weight,
        _name,
        _title,
        "PS3.18 §10.4.3.1",
        (16,),
        partial(_is_refused, _frames, _statuses),
    )


@GROUP.shall("unknown", "frames of an unknown instance are 404", "PS3.18 §10.4.3.1", 16)
def _unknown(probe: Probe) -> None:
    path = f"{probe.specimen.series_path}/instances/{make_uid()}/frames/1"
    expect_status(probe.get(path, accept=ANY), 404, 410)


@GROUP.shall("no-pixels", "frames of an instance without pixels are 404", "PS3.18 §10.4.3.1", 16)
def _no_pixels(probe: Probe) -> None:
    expect_refusal(_fetch(probe, "1", ANY, "report"))


@GROUP.shall("content-type", "frames come as multipart/related", "PS3.18 §10.4.4, §8.7.3.3", 15)
def _content_type(probe: Probe) -> None:
    reply = probe.get(f"{probe.specimen.path}/frames/1", accept=ANY)
    expect_media_type(expect_status(reply, 200), MULTIPART)
    kind = read_parts(reply)[0].media_type
    expect_equal(reply, "type", root_type(reply), kind)


@GROUP.shall("part-type", "native frames are application/octet-stream", "PS3.18 §8.7.3.3.1", 15, 16)
def _part_type(probe: Probe) -> None:
    kinds = {part.media_type for part in read_parts(_fetch(probe, "1,2"))}
    expect_equal(None, "media types of parts", kinds, {OCTETS})


@GROUP.shall("part-location", "each part has a Content-Location", "PS3.18 Table 8.6.1-1", 15)
def _part_location(probe: Probe) -> None:
    found = [part.headers.get("content-location", "") for part in read_parts(_fetch(probe, "1,3"))]
    is_right = all("/frames/" in location for location in found)
    expect(is_right, None, "URLs of frames", found)


@GROUP.shall("boundary", "frames have a boundary of at most 70", "RFC 2046 §5.1.1", 15)
def _boundary(probe: Probe) -> None:
    reply = expect_status(probe.get(f"{probe.specimen.path}/frames/1", accept=ANY), 200)
    boundary = parse_parameters(reply.content_type).get("boundary", "")
    expect(0 < len(boundary) <= 70, reply, "a boundary of 1 to 70 characters", repr(boundary))


def _negotiated(accept: str | None, probe: Probe) -> None:
    reply = _fetch(probe, "2", accept)
    payloads = read_single_or_parts(reply)
    expect_equal(reply, "frames:", len(payloads), 1)
    expect(
        payloads[0][:8] == probe.sample("frames").frames[1][:8], reply, "frame 2", payloads[0][:8]
    )


for _name, _title, _accept, _weight in (
    ("any", "*/* gives the frame", "*/*", Level.SHALL),
    ("none", "no Accept gives the frame", None, Level.SHALL),
    (
        "unquoted",
        "the type parameter may be without quotation marks",
        "multipart/related; type=application/octet-stream",
        Level.SHALL,
    ),
    (
        "ohif",
        "OHIF's Accept gives the frame",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        Level.SHALL,
    ),
    (
        "slim",
        "Slim's Accept gives the frame",
        _SLIM,
        Level.SHALL,
    ),
    (
        "explicit",
        "Explicit VR Little Endian can be asked for",
        f"{PLAIN}; transfer-syntax={EXPLICIT_LITTLE}",
        Level.SHALL,
    ),
    (
        "case",
        "media types are read in either case",
        'Multipart/Related; Type="Application/Octet-Stream"',
        Level.SHALL,
    ),
):
    GROUP.add(
        _weight, f"accept-{_name}", _title, "PS3.18 §8.7.5", (13,), partial(_negotiated, _accept)
    )


@GROUP.practice(
    "single-part", "application/octet-stream gives one frame in one part", "dcmjs#113", 15
)
def _single_part(probe: Probe) -> None:
    reply = expect_media_type(expect_status(_fetch(probe, "2", OCTETS), 200), OCTETS)
    expect(reply.body[:99] == probe.sample("frames").frames[1], reply, "frame 2", reply.body[:8])


@GROUP.shall("406", "a media type that no frame has is 406", "PS3.18 §10.4.3.1", 13)
def _unacceptable(probe: Probe) -> None:
    reply = probe.get(f"{probe.specimen.path}/frames/1", accept="text/html")
    expect_status(reply, 406)


@GROUP.shall(
    "decompressed", "octet-stream gives RLE frames decompressed", "PS3.18 §8.7.3.4", 14, 16
)
def _decompressed(probe: Probe) -> None:
    reply = _fetch(probe, "1,2", PLAIN, "rle")
    _expect_frames(reply, probe.sample("rle"), 1, 2)


@GROUP.shall(
    "swapped", "big-endian frames come in little endian", "PS3.18 §10.5.1.4, §8.7.3.3.1", 14
)
def _swapped(probe: Probe) -> None:
    _expect_frames(_fetch(probe, "1", ANY, "big"), probe.sample("big"), 1)


@GROUP.shall(
    "compressed", "compressed frames are stripped of their item tags", "PS3.18 §8.7.3.3.2", 16
)
def _compressed(probe: Probe) -> None:
    reply = _fetch(probe, "1", ANY, "jpeg")
    stored, got = probe.sample("jpeg").stored_frames[0], _payloads(reply)[0]
    if got[:2] != b"\xff\xd8" and len(got) == 256:
        raise NotOffered("The server decompresses what it has.")
    is_same = got.rstrip(b"\0") == stored.rstrip(b"\0")
    expect(is_same, reply, "the JPEG stream", f"{len(got)} bytes that begin {got[:4].hex()}")


@GROUP.shall(
    "compressed-type",
    "a compressed frame has the media type of its transfer syntax",
    "PS3.18 Table 8.7.3-5",
    16,
)
def _compressed_type(probe: Probe) -> None:
    for name, media_type, syntax in (("jpeg", "image/jpeg", JPEG), ("rle", "image/dicom-rle", RLE)):
        part = read_parts(_fetch(probe, "1", ANY, name))[0]
        if part.body == b"".join(probe.sample(name).frames[:1]) or len(part.body) == 256:
            continue  # decompressed: the check of native frames looks at its media type
        kinds = (media_type, OCTETS) if part.transfer_syntax == syntax else (media_type,)
        is_right = part.media_type in kinds
        expect(is_right, None, f"{media_type} for {name}", part.content_type or "no Content-Type")


@GROUP.practice("as-stored", "frames go out as stored where any syntax will do", "OHIF", 16)
def _as_stored(probe: Probe) -> None:
    reply = _fetch(probe, "2", ANY, "rle")
    expect_equal(reply, "frame 2", _payloads(reply), [probe.sample("rle").stored_frames[1]])


@GROUP.should(
    "compressed-syntax", "a compressed frame names its transfer syntax", "PS3.18 §8.7.3.5.2", 16
)
def _compressed_syntax(probe: Probe) -> None:
    part = read_parts(_fetch(probe, "1", ANY, "rle"))[0]
    if part.body == probe.sample("rle").frames[0]:
        raise NotOffered("The server decompresses what it has.")
    expect_equal(None, "transfer-syntax", part.transfer_syntax, RLE)


@GROUP.shall(
    "rle-type", "RLE frames can be asked for by their media type", "PS3.18 Table 8.7.3-5", 16
)
def _rle_type(probe: Probe) -> None:
    reply = _fetch(
        probe, "1", f'multipart/related; type="image/dicom-rle"; transfer-syntax={RLE}', "rle"
    )
    if reply.status == 406:
        raise NotOffered("image/dicom-rle is not offered.")
    expect_equal(reply, "frame 1", _payloads(reply), [probe.sample("rle").stored_frames[0]])


@GROUP.practice(
    "together",
    "a frame asked for by many at once is right for each",
    "cornerstoneWADOImageLoader#382",
    20,
)
def _together(probe: Probe) -> None:
    sample = probe.sample("rle")
    replies = read_together(probe, f"{sample.path}/frames/2", PLAIN, 6)
    for reply in replies:
        _expect_frames(reply, sample, 2)


# Bulk data


def _pixel_uri(probe: Probe) -> str:
    uri = fetch_instance(probe).get(PIXEL_DATA, {}).get("BulkDataURI")
    if uri is None:
        raise NotOffered("Pixel Data are not behind a BulkDataURI.")
    return str(uri)


@BULK.shall(
    "pixel-data", "the BulkDataURI of Pixel Data gives them", "PS3.18 §F.2.6, §10.4.1.1.1", 17
)
def _bulk_pixels(probe: Probe) -> None:
    reply = fetch_bulk(probe, _pixel_uri(probe))
    got = b"".join(read_single_or_parts(reply))
    expect(bool(got), reply, "bytes", "none")
    if not probe.is_read_only:
        expect(got == probe.sample("ct1").frames[0], reply, "the pixels", f"{len(got)} bytes")


@BULK.shall("multipart", "bulk data come as multipart/related", "PS3.18 §10.4.4", 15)
def _bulk_multipart(probe: Probe) -> None:
    reply = fetch_bulk(probe, _pixel_uri(probe), PLAIN)
    kinds = {part.media_type for part in read_parts(reply)}
    expect_equal(reply, "media types of parts", kinds, {OCTETS})


@BULK.practice(
    "single-part", "application/octet-stream gives bulk data in one part", "OHIF (ECG)", 15
)
def _bulk_single(probe: Probe) -> None:
    reply = fetch_bulk(probe, _pixel_uri(probe), OCTETS)
    expect_media_type(reply, OCTETS)
    expect(bool(reply.body), reply, "bytes", "none")


@BULK.practice("any", "*/* gives bulk data", "OHIF (PDF)", 15)
def _bulk_any(probe: Probe) -> None:
    fetch_bulk(probe, _pixel_uri(probe), "*/*")


@BULK.shall("406", "a media type that bulk data have not is 406", "PS3.18 §10.4.3.1", 13)
def _bulk_406(probe: Probe) -> None:
    reply = probe.get(resolve(probe, _pixel_uri(probe)), accept="text/csv")
    expect_status(reply, 406)


@BULK.shall("unknown", "bulk data that do not exist are 404", "PS3.18 §10.4.3.1", 12)
def _bulk_unknown(probe: Probe) -> None:
    uri = resolve(probe, _pixel_uri(probe))
    path = uri.replace(probe.specimen.sop_uid, make_uid())
    if path == uri:
        raise NotRun("The BulkDataURI does not show the instance.")
    expect_status(probe.get(path, accept=ANY), 404, 410)


@BULK.practice("root", "a BulkDataURI leads to the server that was asked", "kheops PR#70", 17, 29)
def _bulk_root(probe: Probe) -> None:
    uri = _pixel_uri(probe)
    url = resolve(probe, uri)
    expect(url.startswith(f"{probe.root}/"), None, f"a URL under {probe.root}", uri)


@BULK.practice("multi-frame", "bulk data of a multi-frame have all frames", "PS3.18 §8.7.3.3", 17)
def _bulk_frames(probe: Probe) -> None:
    sample = probe.sample("frames")
    found = read_data_sets(probe.get(f"{sample.path}/metadata"))[0].get(PIXEL_DATA, {})
    if "BulkDataURI" not in found:
        raise NotOffered("Pixel Data are not behind a BulkDataURI.")
    reply = fetch_bulk(probe, found["BulkDataURI"], PLAIN)
    got, wanted = b"".join(read_single_or_parts(reply)), b"".join(sample.frames)
    expect(got.rstrip(b"\0") == wanted.rstrip(b"\0"), reply, f"{len(wanted)} bytes", len(got))


@BULK.practice("document", "an encapsulated PDF is behind a BulkDataURI", "OHIF (PDF)", 17)
def _bulk_document(probe: Probe) -> None:
    sample = probe.sample("document")
    found = read_data_sets(probe.get(f"{sample.path}/metadata"))[0].get("00420011", {})
    if "BulkDataURI" not in found:
        raise NotOffered("The document is not behind a BulkDataURI.")
    reply = fetch_bulk(probe, found["BulkDataURI"], "*/*")
    got = b"".join(read_single_or_parts(reply))
    expect(got[: len(PDF)] == PDF, reply, "the PDF", got[:20])


def _resource(probe: Probe, path: str) -> Reply:
    reply = probe.get(path, accept=ANY)
    return require_offered(reply, f"The resource …/{path.rpartition('/')[2]}")


def _all_pixels(place: str, names: tuple[str, ...], probe: Probe) -> None:
    probe.sample("ct1")
    reply = _resource(probe, f"{getattr(probe.specimen, place)}/pixeldata")
    got = {part.body for part in read_parts(reply)}
    wanted = {probe.sample(name).frames[0] for name in names}
    expect(wanted <= got, reply, f"the pixels of {', '.join(names)}", f"{len(got)} other parts")


for _place, _names in (
    ("study_path", ("ct1", "ct2", "ct3")),
    ("series_path", ("ct1", "ct2", "ct3")),
    ("path", ("ct1",)),
):
    _name = {"study_path": "study", "series_path": "series", "path": "instance"}[_place]
    BULK.add(
        Level.SHOULD,
        f"{_name}-pixeldata",
        f"the pixel data of a {_name} are sent together",
        "PS3.18 §10.4.1.1.6 (CP-2040)",
        (12,),
        partial(_all_pixels, _place, _names),
    )


@BULK.should(
    "instance-bulkdata", "all bulk data of an instance are sent", "PS3.18 Table 10.3-2", 12
)
def _instance_bulk(probe: Probe) -> None:
    sample = probe.sample("document")
    reply = _resource(probe, f"{sample.path}/bulkdata")
    found = [part.body for part in read_parts(reply)]
    is_there = any(body[: len(PDF)] == PDF for body in found)
    expect(is_there, reply, "the PDF among the parts", f"{len(found)} other parts")


@BULK.practice("range", "a Range of single-part bulk data is 206", "RFC 9110 §14", 18)
def _range(probe: Probe) -> None:
    url = resolve(probe, _pixel_uri(probe))
    whole = expect_status(probe.get(url, accept=OCTETS), 200)
    reply = probe.get(url, accept=OCTETS, headers={"Range": "bytes=2-5"})
    if reply.status == 200:
        raise NotOffered("Range is not offered.")
    expect_status(reply, 206)
    expect_equal(reply, "bytes", reply.body, whole.body[2:6])
    wanted = f"bytes 2-5/{len(whole.body)}"
    expect_equal(reply, "Content-Range", reply.header("content-range"), wanted)


@BULK.practice("range-beyond", "a Range beyond the end is 416", "RFC 9110 §15.5.17", 18)
def _range_beyond(probe: Probe) -> None:
    url = resolve(probe, _pixel_uri(probe))
    size = len(expect_status(probe.get(url, accept=OCTETS), 200).body)
    reply = probe.get(url, accept=OCTETS, headers={"Range": f"bytes={size + 10}-"})
    if reply.status == 200:
        raise NotOffered("Range is not offered.")
    expect_status(reply, 416)
    expect_equal(reply, "Content-Range", reply.header("content-range"), f"bytes */{size}")


@BULK.practice("range-suffix", "a Range of the last bytes is 206", "RFC 9110 §14.1.2", 18)
def _range_suffix(probe: Probe) -> None:
    url = resolve(probe, _pixel_uri(probe))
    whole = expect_status(probe.get(url, accept=OCTETS), 200)
    reply = probe.get(url, accept=OCTETS, headers={"Range": "bytes=-3"})
    if reply.status == 200:
        raise NotOffered("Range is not offered.")
    expect_equal(expect_status(reply, 206), "bytes", reply.body, whole.body[-3:])
