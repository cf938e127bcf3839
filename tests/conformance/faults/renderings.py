"""Servers that draw wrongly, and URI services that answer wrongly."""

import re

import numpy as np

from ..reference import rendering
from ..reference.messages import Answer, Problem
from ..reference.server import Reference
from .making import (
    drop_parameters,
    fault,
    gone,
    is_rendered,
    is_thumbnail,
    is_uri,
    on_answer,
    on_ask,
    on_parts,
)

PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def _is_drawn(ask):
    return is_rendered(ask) or is_thumbnail(ask) or is_uri(ask)


@on_answer("does not render", "rendered", where=is_rendered)
def no_rendering(ask, answer):
    return gone()


@on_answer("sends pictures that are none", "rendered", "thumbnail", "uri", where=_is_drawn)
def broken_pictures(ask, answer):
    if answer.headers["Content-Type"] in PICTURES:
        answer.body = answer.body[:20]


@on_answer("calls every picture image/png", "rendered", "thumbnail", "uri", where=_is_drawn)
def pictures_misnamed(ask, answer):
    if answer.headers["Content-Type"] in PICTURES:
        answer.headers["Content-Type"] = "image/png"


@on_ask("draws PNG whatever is asked", "rendered", "thumbnail", "uri")
def png_always(ask):
    if is_rendered(ask) or is_thumbnail(ask):
        ask.headers["accept"] = "image/png"
        drop_parameters(ask, "accept")
    if is_uri(ask) and "contentType" not in ask.query:
        ask.query += "&contentType=image/png"


@on_ask("draws JPEG whatever is asked", "rendered", "uri")
def jpeg_always(ask):
    if is_rendered(ask):
        ask.headers["accept"] = "image/jpeg"
        drop_parameters(ask, "accept")
    ask.query = ask.query.replace("contentType=image/png", "contentType=image/jpeg")


def _drawing(sentence, *finds, also=lambda pixels: pixels):
    """Register a server that draws with other options, or other pixels."""

    def register(change):
        class Faulty(Reference):
            def read(self, ask, parts):
                change(ask)
                return super().read(ask, parts)

        Faulty.__name__ = change.__name__
        fault(sentence, *finds)(Faulty)
        return change

    return register


@_drawing("ignores window", "rendered", "uri")
def window_ignored(ask):
    drop_parameters(ask, "window", "windowCenter", "windowWidth")


@_drawing("knows the function linear alone", "rendered")
def linear_alone(ask):
    ask.query = re.sub("(sigmoid|linear-exact)", "none", ask.query)


@_drawing("takes the window's width for twice as wide", "rendered")
def window_wide(ask):
    ask.query = ask.query.replace(",800,", ",1600,")


@_drawing("ignores viewport", "rendered", "thumbnail", "uri")
def viewport_ignored(ask):
    drop_parameters(ask, "viewport", "rows", "columns")
    if is_thumbnail(ask):
        ask.query = "viewport=16,16"


@_drawing("does not crop", "rendered")
def not_cropped(ask):
    ask.query = re.sub("(viewport=[0-9]+,[0-9]+),4,2,8,8", r"\1", ask.query)


@_drawing("does not flip", "rendered")
def not_flipped(ask):
    ask.query = re.sub(",-([0-9])", r",\1", ask.query)


@_drawing("ignores quality", "rendered")
def quality_ignored(ask):
    ask.query = re.sub("quality=(5|100)$", "quality=50", ask.query)


@_drawing("refuses annotations", "rendered")
def annotation_refused(ask):
    ask.query = re.sub("annotation=.+", "annotation=none", ask.query)


@_drawing("passes over rendering parameters that are wrong", "rendered", "thumbnail", "uri")
def bad_options_passed_over(ask):
    bad = (
        r"(quality|imageQuality)=(0|101|best)|viewport=(abc|100|0,0)$|window=(40,400|a,b,linear|40,400,cubic)$"
        r"|annotation=$|iccprofile=maybe"
    )
    ask.query = re.sub(bad, "", ask.query)


@_drawing("crops thumbnails", "thumbnail")
def thumbnails_cropped(ask):
    if is_thumbnail(ask):
        ask.query = ask.query.replace("8,8,0,0,4,4", "8,8")


@_drawing("fails at percent-encoded commas", "rendered")
def encoded_commas_fail(ask):
    if is_rendered(ask) and "%2" in ask.query:
        raise Problem(400, "No.")


def _pictured(name, sentence, *finds):
    """Register a server that changes what it has drawn."""

    def register(change):
        class Faulty(Reference):
            def read(self, ask, parts):
                kept = rendering.draw
                rendering.draw = lambda held, index, options: change(
                    held, kept(held, index, options)
                )
                try:
                    return super().read(ask, parts)
                finally:
                    rendering.draw = kept

        Faulty.__name__ = name
        fault(sentence, *finds)(Faulty)
        return change

    return register


_pictured("scaled_always", "draws everything in one size", "rendered")(
    lambda held, picture: rendering.fit(picture, [20.0, 20.0])
)
_pictured("distorted", "stretches pictures", "rendered")(
    lambda held, picture: np.repeat(picture, 2, axis=0)
)
_pictured("inverted", "draws what is black white", "rendered")(lambda held, picture: 255 - picture)
_pictured("monochrome1_unknown", "does not know MONOCHROME1", "rendered")(
    lambda held, picture: (
        255 - picture if held.ds.PhotometricInterpretation == "MONOCHROME1" else picture
    )
)
_pictured("colours_swapped", "draws blue what is red", "rendered")(
    lambda held, picture: picture[..., ::-1] if picture.ndim == 3 else picture
)


@fault("draws the first frame whatever is asked", "rendered", "uri")
class first_frame_drawn(Reference):
    def read_frames(self, ask, parts):
        parts[7] = "1"
        return super().read_frames(ask, parts)

    def read_uri(self, ask):
        drop_parameters(ask, "frameNumber")
        return super().read_uri(ask)


@fault("does not render frames", "rendered", "thumbnail")
class frames_not_drawn(Reference):
    def read_frames(self, ask, parts):
        return gone() if len(parts) > 8 else super().read_frames(ask, parts)


@on_answer("draws what does not exist", "rendered", "thumbnail", "uri", where=_is_drawn, ok=False)
def unknown_drawn(ask, answer):
    if answer.status in (404, 406):
        return Answer(200, {"Content-Type": "image/png"}, b"\x89PNG")
    return answer


@on_parts("renders the first instance of a study or series", "rendered", where=is_rendered)
def first_drawn(parts):
    return parts[:1]


@on_answer("sends documents as something else", "rendered", where=is_rendered)
def documents_misnamed(ask, answer):
    if answer.headers["Content-Type"] in ("application/pdf", "text/html; charset=utf-8"):
        answer.headers["Content-Type"] = "application/octet-stream"


@on_answer("has no thumbnails of series and studies", "thumbnail", where=is_thumbnail)
def few_thumbnails(ask, answer):
    return gone() if len(ask.segments) in (3, 5) else answer


@fault("has thumbnails of frames and nothing else", "thumbnail")
class frame_thumbnails_alone(Reference):
    def read_below(self, ask, uids, name):
        return gone() if name == "thumbnail" else super().read_below(ask, uids, name)


# The URI service


@on_answer("sends something else than an instance", "uri", where=is_uri)
def uri_sends_json(ask, answer):
    if answer.headers["Content-Type"] == "application/dicom":
        return Answer(200, {"Content-Type": "application/dicom+json"}, b"[]")
    return answer


@on_ask("does not ask for what has to be given", "uri")
def uri_lenient(ask):
    if is_uri(ask):
        asked = dict(ask.parameters)
        asked["requestType"] = "WADO"
        asked.setdefault("studyUID", "1.2")
        asked.setdefault("seriesUID", "1.2")
        asked.setdefault("objectUID", "1.2")
        ask.query = "&".join(f"{name}={value}" for name, value in asked.items())


@on_ask("does not decode contentType, and passes over transferSyntax", "uri")
def uri_undecoded(ask):
    if is_uri(ask):
        ask.query = ask.query.replace("%2F", "%252F")
        ask.query = ask.query.replace("transferSyntax=abc", "")


@fault("goes by the stored transfer syntax", "uri")
class uri_as_stored(Reference):
    def read_uri_file(self, asked, held):
        return Answer(200, {"Content-Type": "application/dicom"}, held.file)
