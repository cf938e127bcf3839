"""Instances of studies, series and one by one.

Source:
    PS3.18 §10.4.1.1.1, §8.6.1.2, §8.7.3 and §8.7.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM,
    MULTIPART,
    expect,
    expect_equal,
    expect_media_type,
    expect_refusal,
    expect_status,
    read_parts,
    root_type,
)
from lamella.conformance.multipart import Part, parse_parameters
from lamella.conformance.outcomes import CheckFailed, NotOffered
from lamella.conformance.probe import Probe
from lamella.conformance.samples import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG,
    RLE,
    Sample,
    make_uid,
    read_file,
)

GROUP = Group("instance", "Instances")
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PLAIN = 'multipart/related; type="application/dicom"'
_ONE_PART = "application/dicom"


def fetch(probe: Probe, accept: str | None = PLAIN, sample: Sample | None = None) -> Reply:
    """Return the answer to a GET of a sample, or of the specimen."""
    return probe.get((sample or probe.specimen).path, accept=accept)


def _syntaxes(parts: Iterable[Part]) -> list[str]:
    return [str(read_file(part.body).file_meta.TransferSyntaxUID) for part in parts]


def _is_whole(place: str, names: tuple[str, ...], probe: Probe) -> None:
    if probe.is_read_only:
        path, wanted = getattr(probe.specimen, place), {probe.specimen.sop_uid}
    else:
        path = getattr(probe.sample("ct1"), place)
        wanted = {probe.sample(name).sop_uid for name in names}
    reply = probe.get(path, accept=ANY)
    got = [str(read_file(part.body).SOPInstanceUID) for part in read_parts(reply)]
    expect(wanted <= set(got), reply, f"instances {sorted(wanted)}", sorted(got))
    if not probe.is_read_only:
        expect_equal(reply, "instances:", len(got), len(wanted))


for _place, _names in (
    ("study_path", ("ct1", "ct2", "ct3", "report")),
    ("series_path", ("ct1", "ct2", "ct3")),
    ("path", ("ct1",)),
):
    _name = {"study_path": "study", "series_path": "series", "path": "instance"}[_place]
    GROUP.add(
        Level.SHALL,
        _name,
        f"a {_name} is sent whole, a part for each instance",
        "PS3.18 §10.4.1.1.1, §8.7.3.1",
        (12,),
        partial(_is_whole, _place, _names),
    )


@GROUP.shall("type", "the Content-Type names the type of the parts", "PS3.18 §8.7.3.5.1", 15)
def _type(probe: Probe) -> None:
    reply = expect_media_type(expect_status(fetch(probe), 200), MULTIPART)
    expect_equal(reply, "type", root_type(reply), DICOM)


@GROUP.shall("type-quoted", "the type parameter is in quotation marks", "PS3.18 §8.7.1", 13, 15)
def _type_quoted(probe: Probe) -> None:
    reply = expect_media_type(expect_status(fetch(probe), 200), MULTIPART)
    is_quoted = 'type="application/dicom"' in reply.content_type.replace(" ", "")
    expect(is_quoted, reply, 'type="application/dicom"', reply.content_type)


@GROUP.shall("boundary", "the Content-Type has a boundary of at most 70", "RFC 2046 §5.1.1", 15)
def _boundary(probe: Probe) -> None:
    reply = expect_media_type(expect_status(fetch(probe), 200), MULTIPART)
    boundary = parse_parameters(reply.content_type).get("boundary", "")
    expect(0 < len(boundary) <= 70, reply, "a boundary of 1 to 70 characters", repr(boundary))


@GROUP.practice("boundary-random", "each answer has a boundary of its own", "DICOM-RST#59", 15)
def _boundary_random(probe: Probe) -> None:
    found = set()
    for _ in range(2):
        reply = expect_status(probe.get(probe.specimen.path, accept=PLAIN, fresh=True), 200)
        found.add(parse_parameters(reply.content_type).get("boundary"))
    expect_equal(None, "boundaries:", len(found), 2)


@GROUP.shall(
    "part-type", "each part has a Content-Type of application/dicom", "PS3.18 §8.6.1.2", 15
)
def _part_type(probe: Probe) -> None:
    kinds = {part.media_type for part in read_parts(fetch(probe))}
    expect_equal(None, "media types of parts", kinds, {DICOM})


@GROUP.shall(
    "part-location", "each part has a Content-Location", "PS3.18 §8.6.1.2, Table 8.6.1-1", 15
)
def _part_location(probe: Probe) -> None:
    found = [part.headers.get("content-location", "") for part in read_parts(fetch(probe))]
    wanted = probe.specimen.path
    is_right = all(location.endswith(wanted) for location in found)
    expect(is_right, None, f"URLs that end in {wanted}", found)


@GROUP.shall("part-length", "each part has a Content-Length", "PS3.18 §8.6.1.2, Table 8.6.1-1", 15)
def _part_length(probe: Probe) -> None:
    parts = read_parts(fetch(probe))
    found = [part.headers.get("content-length") for part in parts]
    expect_equal(None, "Content-Lengths", found, [str(len(part.body)) for part in parts])


@GROUP.should("part-syntax", "a part names its transfer syntax", "PS3.18 §8.7.3.5.2", 15)
def _part_syntax(probe: Probe) -> None:
    parts = read_parts(fetch(probe, ANY))
    expect_equal(None, "transfer-syntax", [p.transfer_syntax for p in parts], _syntaxes(parts))


@GROUP.shall("part-10", "a part is a DICOM file with its file meta", "PS3.10 §7.1", 12)
def _part_10(probe: Probe) -> None:
    for part in read_parts(fetch(probe)):
        expect(part.body[128:132] == b"DICM", None, "DICM after 128 bytes", part.body[128:132])
        meta = read_file(part.body).file_meta
        got = str(meta.MediaStorageSOPInstanceUID)
        expect_equal(None, "Media Storage SOP Instance UID", got, probe.specimen.sop_uid)


@GROUP.shall(
    "single-part", "application/dicom gives one instance in one part", "PS3.18 §10.4.4", 15
)
def _single_part(probe: Probe) -> None:
    reply = expect_media_type(expect_status(fetch(probe, _ONE_PART), 200), DICOM)
    got = str(read_file(reply.body).SOPInstanceUID)
    expect_equal(reply, "the instance", got, probe.specimen.sop_uid)


@GROUP.shall(
    "same-attributes", "an instance has the attributes it was stored with", "PS3.18 §10.4.2", 12
)
def _same_attributes(probe: Probe) -> None:
    for name in ("ct1", "rich"):
        sample = probe.sample(name)
        got = read_file(read_parts(fetch(probe, PLAIN, sample))[0].body)
        differing = [
            e.keyword or str(e.tag)
            for e in sample.ds
            if e.tag not in got or got[e.tag].value != e.value
        ]
        expect_equal(None, f"attributes of {name} that differ", differing, [])


@GROUP.shall("same-pixels", "an instance has the pixels it was stored with", "PS3.18 §10.4.2", 12)
def _same_pixels(probe: Probe) -> None:
    for name in ("ct1", "mono1"):
        sample = probe.sample(name)
        got = read_file(read_parts(fetch(probe, PLAIN, sample))[0].body)
        expect_equal(None, f"pixels of {name}", got.PixelData, b"".join(sample.frames))


def _comes_as(name: str, accept: str, allowed: tuple[str, ...], probe: Probe) -> None:
    sample = probe.sample(name)
    reply = fetch(probe, accept, sample)
    got = _syntaxes(read_parts(reply))
    expect(set(got) <= set(allowed), reply, f"transfer syntax {' or '.join(allowed)}", got)


_DEFAULT = "PS3.18 §8.7.3.4"
for _name, _title, _sample, _accept, _allowed in (
    (
        "default-implicit",
        "Implicit VR goes out as Explicit VR Little Endian",
        "frames",
        PLAIN,
        (EXPLICIT_LITTLE,),
    ),
    (
        "default-big",
        "big-endian goes out as Explicit VR Little Endian",
        "big",
        PLAIN,
        (EXPLICIT_LITTLE,),
    ),
    (
        "default-rle",
        "RLE goes out decompressed where no syntax is asked for",
        "rle",
        PLAIN,
        (EXPLICIT_LITTLE,),
    ),
    (
        "default-jpeg",
        "lossy JPEG goes out as it is, or decompressed",
        "jpeg",
        PLAIN,
        (EXPLICIT_LITTLE, JPEG),
    ),
    (
        "any-implicit",
        "Implicit VR does not go out where any syntax will do",
        "frames",
        ANY,
        (EXPLICIT_LITTLE,),
    ),
    (
        "any-big",
        "big-endian does not go out where any syntax will do",
        "big",
        ANY,
        (EXPLICIT_LITTLE,),
    ),
    (
        "any-rle",
        "RLE goes out as RLE or decompressed where any syntax will do",
        "rle",
        ANY,
        (RLE, EXPLICIT_LITTLE),
    ),
    (
        "explicit",
        "Explicit VR Little Endian can be asked for",
        "rle",
        PLAIN + f"; transfer-syntax={EXPLICIT_LITTLE}",
        (EXPLICIT_LITTLE,),
    ),
    (
        "explicit-quoted",
        "it can be asked for in quotation marks",
        "rle",
        PLAIN + f'; transfer-syntax="{EXPLICIT_LITTLE}"',
        (EXPLICIT_LITTLE,),
    ),
):
    GROUP.add(
        Level.SHALL, _name, _title, _DEFAULT, (14,), partial(_comes_as, _sample, _accept, _allowed)
    )


@GROUP.shall("single-implicit", "Implicit VR does not go out as a single part", _DEFAULT, 14)
def _single_implicit(probe: Probe) -> None:
    reply = expect_status(fetch(probe, _ONE_PART, probe.sample("frames")), 200)
    got = str(read_file(reply.body).file_meta.TransferSyntaxUID)
    expect_equal(reply, "transfer syntax", got, EXPLICIT_LITTLE)


@GROUP.practice("as-stored", "RLE goes out as stored where any syntax will do", "OHIF", 14)
def _as_stored(probe: Probe) -> None:
    _comes_as("rle", ANY, (RLE,), probe)


@GROUP.shall("decompressed", "decompressed pixels are those that were compressed", _DEFAULT, 14)
def _decompressed(probe: Probe) -> None:
    sample = probe.sample("rle")
    got = read_file(read_parts(fetch(probe, PLAIN, sample))[0].body)
    if str(got.file_meta.TransferSyntaxUID) != EXPLICIT_LITTLE:
        raise NotOffered("It does not decompress, which instance/default-rle says.")
    is_same = got.PixelData == b"".join(sample.frames) and got.PlanarConfiguration == 0
    expect(is_same, None, "the same pixels, by pixel", f"{len(got.PixelData)} others")


@GROUP.shall("swapped", "pixels that were big-endian have their bytes swapped", _DEFAULT, 14)
def _swapped(probe: Probe) -> None:
    sample = probe.sample("big")
    got = read_file(read_parts(fetch(probe, PLAIN, sample))[0].body)
    expect_equal(None, "pixels", got.PixelData[:8], sample.frames[0][:8])


def _is_406(accept: str, probe: Probe) -> None:
    expect_status(fetch(probe, accept), 406)


for _name, _title, _accept in (
    ("406-type", "a media type that no instance has is 406", "image/png"),
    (
        "406-implicit",
        "Implicit VR Little Endian cannot be had",
        PLAIN + f"; transfer-syntax={IMPLICIT_LITTLE}",
    ),
    (
        "406-big",
        "Explicit VR Big Endian cannot be had",
        PLAIN + f"; transfer-syntax={EXPLICIT_BIG}",
    ),
    ("406-unknown", "an unknown transfer syntax is 406", PLAIN + "; transfer-syntax=1.2.3.4.5.6"),
):
    GROUP.add(
        Level.SHALL,
        _name,
        _title,
        "PS3.18 §10.4.3.1, §8.7.3.4",
        (13, 14),
        partial(_is_406, _accept),
    )


def _is_sent(accept: str | None, probe: Probe) -> None:
    reply = expect_status(fetch(probe, accept), 200)
    expect_media_type(reply, MULTIPART, DICOM)


_READ: tuple[tuple[str, str, str | None, Level], ...] = (
    ("any", "*/* gives DICOM", "*/*", Level.SHALL),
    ("none", "no Accept gives DICOM", None, Level.SHALL),
    (
        "unquoted",
        "the type parameter may be without quotation marks",
        "multipart/related; type=application/dicom",
        Level.SHALL,
    ),
    (
        "no-spaces",
        "parameters may come without spaces",
        'multipart/related;type="application/dicom"',
        Level.SHALL,
    ),
    (
        "order",
        "parameters come in any order",
        'multipart/related; transfer-syntax=*; type="application/dicom"',
        Level.SHALL,
    ),
    (
        "case",
        "media types and names of parameters are read in either case",
        'Multipart/Related; Type="application/dicom"',
        Level.SHALL,
    ),
    (
        "unknown-first",
        "what is unknown in a list is passed over",
        f"image/x-none, {PLAIN}",
        Level.SHALL,
    ),
    (
        "fallback",
        "a second choice is taken where the first cannot be had",
        f"{PLAIN}; transfer-syntax=1.2.3.4.5.6, {PLAIN}; transfer-syntax={EXPLICIT_LITTLE}; q=0.5",
        Level.SHALL,
    ),
    (
        "boundary-parameter",
        "a boundary in Accept is no obstacle",
        f"{PLAIN}; boundary=xyz",
        Level.PRACTICE,
    ),
    (
        "browser",
        "a browser's Accept is no 406",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        Level.SHALL,
    ),
)
for _name, _title, _wanted, _weight in _READ:
    GROUP.add(
        _weight, _name, _title, "PS3.18 §8.7.5; RFC 9110 §12.5.1", (13,), partial(_is_sent, _wanted)
    )


@GROUP.shall(
    "quality", "the transfer syntax of the greater q-value is sent", "RFC 9110 §12.5.1", 13
)
def _quality(probe: Probe) -> None:
    sample = probe.sample("rle")
    accept = (
        f"{PLAIN}; transfer-syntax={RLE}; q=0.1, {PLAIN}; transfer-syntax={EXPLICIT_LITTLE}; q=0.9"
    )
    expect_equal(
        None,
        "transfer syntax",
        _syntaxes(read_parts(fetch(probe, accept, sample))),
        [EXPLICIT_LITTLE],
    )


@GROUP.shall("accept-parameter", "the query parameter accept chooses", "PS3.18 §8.3.3.1", 13)
def _accept_parameter(probe: Probe) -> None:
    reply = probe.get(probe.specimen.path, "accept=application/dicom", "*/*")
    expect_media_type(expect_status(reply, 200), DICOM)


def _is_unknown(place: str, probe: Probe) -> None:
    s, new = probe.specimen, make_uid()
    path = {
        "study": f"/studies/{new}",
        "series": f"{s.study_path}/series/{new}",
        "instance": f"{s.series_path}/instances/{new}",
        "instance-elsewhere": f"{s.study_path}/series/{new}/instances/{s.sop_uid}",
    }[place]
    expect_status(probe.get(path, accept=ANY), 404, 410)


for _name, _title in (
    ("study", "an unknown study is 404"),
    ("series", "an unknown series is 404"),
    ("instance", "an unknown instance is 404"),
    ("instance-elsewhere", "an instance under another series is 404"),
):
    GROUP.add(
        Level.SHALL,
        f"unknown-{_name}",
        _title,
        "PS3.18 §10.4.3.1",
        (12,),
        partial(_is_unknown, _name),
    )


@GROUP.practice("malformed-uid", "a path that holds no UID is 400 or 404", "PS3.18 §8.5", 12)
def _malformed(probe: Probe) -> None:
    expect_refusal(probe.get("/studies/not-a-uid", accept=ANY))


@GROUP.practice(
    "zip", "application/zip gives an archive of the files", "PS3.18 §8.7.3 (Sup 211)", 12
)
def _zip(probe: Probe) -> None:
    import io
    import zipfile

    reply = probe.get(probe.specimen.series_path, accept="application/zip")
    if reply.status == 406:
        raise NotOffered("application/zip is not offered.")
    expect_media_type(expect_status(reply, 200), "application/zip")
    try:
        with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
            files = [archive.read(name) for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise CheckFailed(reply, "a zip archive", str(error)) from error
    found = [file for file in files if file[128:132] == b"DICM"]
    uids = {str(read_file(file).SOPInstanceUID) for file in found}
    expect(probe.specimen.sop_uid in uids, reply, f"instance {probe.specimen.sop_uid}", uids)
