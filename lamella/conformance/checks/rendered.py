"""Rendered resources and thumbnails.

Source:
    PS3.18 §10.4.1.1.3, §10.4.1.1.4, §8.3.5 and §8.7.4.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lamella.conformance.check import Group, Level
from lamella.conformance.checks.pictures import (
    GIF,
    JPEG,
    PNG,
    WEBP,
    decode,
    measure,
    read_picture,
    to_grey,
)
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    MULTIPART,
    expect,
    expect_equal,
    expect_media_type,
    expect_status,
    read_parts,
    require_offered,
)
from lamella.conformance.outcomes import NotOffered
from lamella.conformance.pixels import COLUMNS, ROWS
from lamella.conformance.probe import Probe
from lamella.conformance.samples import make_uid

GROUP = Group("rendered", "Rendered resources")
THUMBNAIL = Group("thumbnail", "Thumbnails")
_SECTION = "PS3.18 §10.4.1.1.3"


def _render(
    probe: Probe, query: str = "", accept: str | None = PNG, name: str = "ct1", frames: str = ""
) -> Reply:
    place = probe.specimen.path if name == "ct1" and probe.is_read_only else probe.sample(name).path
    within = f"/frames/{frames}" if frames else ""
    return probe.get(f"{place}{within}/rendered", query, accept)


def _require(probe: Probe) -> None:
    """End the check unless instances are rendered at all, which `instance` asks."""
    require_offered(_render(probe, accept=JPEG), "Rendering")


@GROUP.shall("instance", "an instance is rendered", _SECTION, 12, 19)
def _instance(probe: Probe) -> None:
    read_picture(_render(probe, accept=JPEG))


@GROUP.shall("default", "*/* gives JPEG", "PS3.18 §8.7.4, Table 8.7.4-1", 19)
def _default(probe: Probe) -> None:
    _require(probe)
    read_picture(_render(probe, accept="*/*"), JPEG)


def _kind(kind: str, probe: Probe) -> None:
    _require(probe)
    reply = _render(probe, accept=kind)
    if reply.status == 406 and kind in (GIF, WEBP):
        raise NotOffered(f"{kind} is not offered.")
    read_picture(reply, kind)


for _kind_name, _weight in (
    (JPEG, Level.SHALL),
    (PNG, Level.SHALL),
    (GIF, Level.SHOULD),
    (WEBP, Level.PRACTICE),
):
    GROUP.add(
        _weight,
        _kind_name.partition("/")[2],
        f"{_kind_name} is sent where it is asked for",
        "PS3.18 §8.7.4, Table 8.7.4-1",
        (19,),
        partial(_kind, _kind_name),
    )


@GROUP.shall("size", "a picture has the rows and columns of its image", "PS3.18 §8.3.5.1.3", 19)
def _size(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    reply = _render(probe)
    expect_equal(reply, "rows and columns", measure(read_picture(reply)), (ROWS, COLUMNS))


@GROUP.shall("accept-parameter", "the query parameter accept chooses", "PS3.18 §8.3.3.1", 13, 19)
def _accept_parameter(probe: Probe) -> None:
    _require(probe)
    read_picture(_render(probe, "accept=image/png", "*/*"), PNG)


@GROUP.practice("accept-encoded", "so it does percent-encoded", "OHIF", 13, 19)
def _accept_encoded(probe: Probe) -> None:
    _require(probe)
    read_picture(_render(probe, "accept=image%2Fjpeg", "*/*"), JPEG)


@GROUP.shall("406", "a DICOM media type is 406", "PS3.18 §10.4.1.1.3, §8.7.4", 19)
def _unacceptable(probe: Probe) -> None:
    _require(probe)
    expect_status(_render(probe, accept="application/dicom"), 406)


@GROUP.shall("unknown", "an unknown instance is 404", "PS3.18 §10.4.3.1", 12)
def _unknown(probe: Probe) -> None:
    _require(probe)
    path = f"{probe.specimen.series_path}/instances/{make_uid()}/rendered"
    expect_status(probe.get(path, accept=JPEG), 404, 410)


@GROUP.shall("frame", "a frame is rendered", _SECTION, 12, 19)
def _frame(probe: Probe) -> None:
    _require(probe)
    reply = _render(probe, name="frames", frames="2")
    expect_equal(reply, "rows and columns", measure(read_picture(reply, PNG)), (9, 11))


@GROUP.shall("frame-own", "each frame is rendered from its own pixels", _SECTION, 19)
def _frame_own(probe: Probe) -> None:
    _require(probe)
    first, second = (to_grey(read_picture(_render(probe, name="rle", frames=n))) for n in "12")
    is_other = not np.array_equal(first, second)
    expect(is_other, None, "another picture of frame 2 than of frame 1", "the same")


@GROUP.shall("frame-beyond", "a frame beyond the last is 404", "PS3.18 §10.4.3.1", 16, 19)
def _frame_beyond(probe: Probe) -> None:
    _require(probe)
    expect_status(_render(probe, name="frames", frames="4"), 404)


@GROUP.shall("monochrome1", "the lowest value of MONOCHROME1 is white", "PS3.3 §C.7.6.3.1.2", 19)
def _monochrome1(probe: Probe) -> None:
    _require(probe)
    grey = to_grey(read_picture(_render(probe, name="mono1")))
    expect(grey[0, 0] > grey[0, -1], None, "white on the left", f"{grey[0, 0]} to {grey[0, -1]}")


@GROUP.shall("monochrome2", "the lowest value of MONOCHROME2 is black", "PS3.3 §C.7.6.3.1.2", 19)
def _monochrome2(probe: Probe) -> None:
    _require(probe)
    grey = to_grey(read_picture(_render(probe, name="big")))
    expect(grey[0, 0] < grey[-1, -1], None, "black at the top", f"{grey[0, 0]} to {grey[-1, -1]}")


@GROUP.shall("colour", "colours are those of the image", "PS3.3 §C.7.6.3.1.2", 19)
def _colour(probe: Probe) -> None:
    _require(probe)
    picture = read_picture(_render(probe, name="rle", frames="1"))
    got = picture[0, 0, :3].tolist() if picture.ndim == 3 else picture[0, 0].tolist()
    expect_equal(None, "the first pixel", got, [200, 0, 0])


def _window(probe: Probe, window: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return to_grey(read_picture(_render(probe, f"window={window}")))


@GROUP.shall("window", "window makes what lies outside black and white", "PS3.18 §8.3.5.1.4", 19)
def _window_applies(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    dark = _window(probe, "5000,10,linear").max()
    light = _window(probe, "-5000,10,linear").min()
    expect((dark, light) == (0, 255), None, "black and white", f"at most {dark}, at least {light}")


@GROUP.shall("window-linear", "window is linear between its ends", "PS3.3 §C.11.2.1.2", 19)
def _window_linear(probe: Probe) -> None:
    ct = probe.sample("ct1")
    _require(probe)
    stored = np.frombuffer(ct.frames[0], "<i2").reshape(ROWS, COLUMNS) - 1024.0
    wanted = np.clip(((stored - (-299.5)) / 799 + 0.5) * 255, 0, 255)
    worst = float(np.abs(_window(probe, "-299,800,linear") - wanted).max())
    expect(worst <= 2, None, "grey within 2 of what the window gives", f"{worst:.1f} beside it")


def _window_function(function: str, probe: Probe) -> None:
    _require(probe)
    expect_status(_render(probe, f"window=40,400,{function}"), 200)


for _function in ("linear-exact", "sigmoid"):
    GROUP.add(
        Level.SHALL,
        f"window-{_function}",
        f"the function {_function} is taken",
        "PS3.18 §8.3.5.1.4",
        (19,),
        partial(_window_function, _function),
    )


@GROUP.shall("viewport", "viewport scales without distortion", "PS3.18 §8.3.5.1.3", 19)
def _viewport(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    reply = _render(probe, "viewport=32,32")
    expect_equal(reply, "rows and columns", measure(read_picture(reply)), (24, 32))


@GROUP.shall("viewport-smaller", "viewport makes smaller pictures too", "PS3.18 §8.3.5.1.3", 19)
def _viewport_smaller(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    reply = _render(probe, "viewport=8,8")
    expect_equal(reply, "rows and columns", measure(read_picture(reply)), (6, 8))


@GROUP.shall("viewport-encoded", "its commas may be percent-encoded", "RFC 3986 §2.1", 19)
def _viewport_encoded(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    reply = _render(probe, "viewport=32%2C32")
    expect_equal(reply, "rows and columns", measure(read_picture(reply)), (24, 32))


@GROUP.shall("viewport-crop", "viewport crops to a region", "PS3.18 §8.3.5.1.3", 19)
def _viewport_crop(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    part = to_grey(read_picture(_render(probe, "viewport=8,8,4,2,8,8")))
    whole = to_grey(read_picture(_render(probe)))
    is_same = part.shape == (8, 8) and np.array_equal(part, whole[2:10, 4:12])
    expect(is_same, None, "columns 4 to 11 of rows 2 to 9", f"{part.shape} of others")


@GROUP.shall("viewport-flip", "a negative width flips horizontally", "PS3.18 §8.3.5.1.3", 19)
def _viewport_flip(probe: Probe) -> None:
    probe.sample("ct1")
    _require(probe)
    flipped = to_grey(
        read_picture(_render(probe, f"viewport={COLUMNS},{ROWS},0,0,-{COLUMNS},{ROWS}"))
    )
    whole = to_grey(read_picture(_render(probe)))
    expect(np.array_equal(flipped, whole[:, ::-1]), None, "the picture flipped", "another")


@GROUP.shall("quality", "quality makes JPEG smaller", "PS3.18 §8.3.5.1.2", 19)
def _quality(probe: Probe) -> None:
    _require(probe)
    small, large = (_render(probe, f"quality={n}", JPEG) for n in (5, 100))
    read_picture(small, JPEG)
    read_picture(large, JPEG)
    is_smaller = len(small.body) < len(large.body)
    expect(is_smaller, small, f"less than {len(large.body)} bytes", len(small.body))


@GROUP.shall("annotation", "annotation=patient,technique is taken", "PS3.18 §8.3.5.1.1", 19)
def _annotation(probe: Probe) -> None:
    _require(probe)
    read_picture(_render(probe, "annotation=patient,technique"))


def _is_refused(query: str, probe: Probe) -> None:
    _require(probe)
    expect_status(_render(probe, query), 400)


for _name, _query, _section in (
    ("bad-quality", "quality=0", "§8.3.5.1.2"),
    ("bad-quality-high", "quality=101", "§8.3.5.1.2"),
    ("bad-quality-text", "quality=best", "§8.3.5.1.2"),
    ("bad-viewport", "viewport=abc", "§8.3.5.1.3"),
    ("bad-viewport-one", "viewport=100", "§8.3.5.1.3"),
    ("bad-viewport-zero", "viewport=0,0", "§8.3.5.1.3"),
    ("bad-window", "window=40,400", "§8.3.5.1.4"),
    ("bad-window-text", "window=a,b,linear", "§8.3.5.1.4"),
    ("bad-window-function", "window=40,400,cubic", "§8.3.5.1.4"),
    ("bad-annotation", "annotation=", "§8.3.5.1.1"),
    ("bad-iccprofile", "iccprofile=maybe", "§8.3.5.1.5"),
):
    GROUP.add(
        # A server need not know iccprofile (Table 10.4.1-5), and may then pass over it.
        Level.SHOULD if _name == "bad-iccprofile" else Level.SHALL,
        _name,
        f"{_query} is refused",
        f"PS3.18 {_section}",
        (19,),
        partial(_is_refused, _query),
    )


def _all_rendered(place: str, least: int, probe: Probe) -> None:
    _require(probe)
    reply = probe.get(
        f"{getattr(probe.specimen, place)}/rendered", accept=f"{MULTIPART}; type={JPEG}, {JPEG}"
    )
    require_offered(reply, "Rendering a whole study or series", 406)
    # 206 says that some instances, such as documents, have no picture (§10.4.3.1).
    parts = read_parts(reply, 200, 206)
    for part in parts:
        if part.media_type.startswith("image/"):
            decode(reply, part.media_type, part.body)
    pictures = sum(part.media_type.startswith("image/") for part in parts)
    wanted = 1 if probe.is_read_only else least
    expect(pictures >= wanted, reply, f"{wanted} pictures or more", pictures)


for _place, _least in (("study_path", 3), ("series_path", 3)):
    _name = _place.partition("_")[0]
    GROUP.add(
        Level.SHALL,
        _name,
        f"a {_name} is rendered, a part for each instance",
        _SECTION,
        (12, 19),
        partial(_all_rendered, _place, _least),
    )


@GROUP.practice("document", "an encapsulated PDF is rendered as itself", "PS3.18 §8.7.4; OHIF", 19)
def _document(probe: Probe) -> None:
    _require(probe)
    reply = _render(probe, accept="application/pdf", name="document")
    require_offered(reply, "Rendering a PDF", 400, 406, 415)
    expect_media_type(expect_status(reply, 200), "application/pdf")
    expect(reply.body.startswith(b"%PDF"), reply, "a PDF", reply.body[:8])


@GROUP.practice("document-browser", "a browser gets the PDF, whatever its Accept", "OHIF (PDF)", 19)
def _document_browser(probe: Probe) -> None:
    _require(probe)
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    reply = require_offered(_render(probe, accept=accept, name="document"), "A PDF", 400, 406, 415)
    expect_media_type(expect_status(reply, 200), "application/pdf")


@GROUP.should("report", "an SR document is rendered as text/html", "PS3.18 Table 8.7.4-1", 19)
def _report(probe: Probe) -> None:
    _require(probe)
    reply = _render(probe, accept="text/html", name="report")
    require_offered(reply, "Rendering an SR document", 400, 406, 415)
    expect_media_type(expect_status(reply, 200), "text/html")
    expect(b"Nothing to be seen" in reply.body, reply, "what the document says", reply.body[:80])


# Thumbnails


def _thumbnail(probe: Probe, place: str, query: str = "", accept: str | None = JPEG) -> Reply:
    path = probe.specimen.path + "/frames/1" if place == "frame" else getattr(probe.specimen, place)
    return probe.get(f"{path}/thumbnail", query, accept)


def _require_thumbnails(probe: Probe) -> None:
    places = ("path", "series_path", "study_path", "frame")
    replies = [_thumbnail(probe, place) for place in places]
    if all(reply.status in (400, 404, 405, 501) for reply in replies):
        raise NotOffered("Thumbnails are not offered.")


def _has_thumbnail(place: str, probe: Probe) -> None:
    _require_thumbnails(probe)
    reply = _thumbnail(probe, place)
    if reply.status in (302, 303, 307):
        reply = probe.get(reply.header("location") or "", accept=JPEG)
    read_picture(reply)


for _place in ("study_path", "series_path", "path", "frame"):
    _name = {"path": "instance"}.get(_place, _place.partition("_")[0])
    THUMBNAIL.add(
        Level.SHALL,
        _name,
        f"a {_name} has a thumbnail, if any has",
        "PS3.18 §10.4.1.1.4",
        (12, 19),
        partial(_has_thumbnail, _place),
    )


@THUMBNAIL.shall("viewport", "viewport bounds a thumbnail", "PS3.18 §8.3.5.2", 19)
def _thumbnail_viewport(probe: Probe) -> None:
    _require_thumbnails(probe)
    reply = _thumbnail(probe, "path", "viewport=8,8")
    rows, columns = measure(read_picture(reply))
    expect(max(rows, columns) <= 8, reply, "at most 8 × 8", f"{rows} × {columns}")


def _thumbnail_refuses(query: str, probe: Probe) -> None:
    _require_thumbnails(probe)
    expect_status(_thumbnail(probe, "path", query), 400)


for _name, _query in (("bad-viewport", "viewport=abc"), ("crop", "viewport=8,8,0,0,4,4")):
    THUMBNAIL.add(
        Level.SHALL,
        _name,
        f"{_query} is refused for a thumbnail",
        "PS3.18 §8.3.5.1.3",
        (19,),
        partial(_thumbnail_refuses, _query),
    )


@THUMBNAIL.shall("unknown", "a thumbnail of an unknown study is 404", "PS3.18 §10.4.3.1", 12)
def _thumbnail_unknown(probe: Probe) -> None:
    _require_thumbnails(probe)
    expect_status(probe.get(f"/studies/{make_uid()}/thumbnail", accept=JPEG), 404, 410)


@THUMBNAIL.practice("accept-parameter", "accept=image/jpeg gives JPEG", "OHIF", 13, 19)
def _thumbnail_accept(probe: Probe) -> None:
    _require_thumbnails(probe)
    read_picture(_thumbnail(probe, "path", "accept=image/jpeg", "*/*"), JPEG)
