"""Servers that send metadata, instances, frames and bulk data wrongly."""

import json
import re

from ..reference import retrieving
from ..reference.holdings import Held
from ..reference.messages import BIG, DICOM, EXPLICIT, IMPLICIT, OCTETS, Answer, Problem, choose
from ..reference.server import Reference
from .making import (
    fault,
    gone,
    is_bulk,
    is_frames,
    is_instance,
    is_metadata,
    is_multipart,
    is_search,
    on_answer,
    on_ask,
    on_data_sets,
    on_parts,
    rejoin,
)

# Metadata


@on_answer("has no metadata", "metadata", "json", "http", where=is_metadata)
def no_metadata(ask, answer):
    return gone()


@on_answer("sends metadata of the first instance alone", "metadata", where=is_metadata)
def first_metadata(ask, answer):
    if answer.headers["Content-Type"].endswith("json") and "Content-Encoding" not in answer.headers:
        answer.body = json.dumps(json.loads(answer.body)[:1]).encode()
    elif is_multipart(answer):
        return rejoin(answer, lambda parts: parts[:1])
    return answer


@on_data_sets("sends metadata in descending order", "metadata", where=is_metadata)
def descending(data_set):
    return dict(reversed(data_set.items()))


@on_data_sets("sends group lengths", "metadata", where=is_metadata)
def group_lengths(data_set):
    return {"00080000": {"vr": "UL", "Value": [1]}, **data_set}


@on_data_sets("sends other UIDs in metadata", "metadata", where=is_metadata)
def other_uids(data_set):
    data_set["0020000E"]["Value"] = ["1.2.3"]


@on_data_sets("leaves out what it does not index", "metadata", where=is_metadata)
def indexed_alone(data_set):
    return {t: e for t, e in data_set.items() if t[:4] in ("0008", "0010", "0020")}


@on_data_sets("drops Pixel Data from metadata", "metadata", "bulk", where=is_metadata)
def pixels_dropped(data_set):
    data_set.pop("7FE00010", None)


@on_data_sets("sends Pixel Data inline", "metadata", where=is_metadata)
def pixels_inline(data_set):
    if "7FE00010" in data_set:
        data_set["7FE00010"] = {"vr": "OW", "InlineBinary": "AAA="}


@on_answer(
    "answers with nothing where it should be 404", "metadata", "instance", "http", "bulk", ok=False
)
def nothing_for_404(ask, answer):
    if answer.status == 404 and ask.method == "GET":
        return Answer(200, {"Content-Type": "application/dicom+json"}, b"[]")
    return answer


@fault("finds an instance under any study and series", "metadata", "instance")
class any_parent(Reference):
    def find(self, uids):
        found = [h for h in self.holdings.select() if h.key[len(uids) - 1] == uids[-1]]
        return retrieving.require(found, "resource")


@on_answer("never compresses", "metadata")
def never_compressed(ask, answer):
    if "Content-Encoding" in answer.headers:
        import gzip

        answer.body = gzip.decompress(answer.body)
        del answer.headers["Content-Encoding"]


@on_ask("compresses whether that is accepted or not", "metadata")
def always_compressed(ask):
    if ask.headers.get("accept-encoding") == "identity":
        ask.headers["accept-encoding"] = "gzip"


@on_answer("knows the first instance of a study alone", "metadata", where=is_metadata)
def first_instance_alone(ask, answer):
    if b'"Value": [2]' in answer.body.partition(b'"00200013"')[2][:40] or b'"SR"' in answer.body:
        return gone()
    return answer


# Values


def _each(change):
    """Return a change of data sets that changes each element, at any depth."""

    def apply(data_set):
        shown = {}
        for tag, element in data_set.items():
            if element.get("vr") == "SQ" and element.get("Value"):
                element["Value"] = [apply(item) for item in element["Value"]]
            changed = change(tag, element)
            if changed is not None:
                shown[tag] = changed
        return shown

    return apply


def _on_elements(sentence, *finds):
    def register(change):
        apply = _each(change)
        apply.__name__ = change.__name__
        on_data_sets(sentence, *finds, where=lambda ask: is_metadata(ask) or is_search(ask))(apply)
        return change

    return register


@_on_elements("changes every text", "json", "metadata")
def texts_changed(tag, element):
    texts = element.get("Value") or []
    if element["vr"] not in ("UI", "PN", "SQ", "CS") or tag not in (
        "00080018",
        "0020000D",
        "0020000E",
    ):
        element["Value"] = [f"{t} " if isinstance(t, str) else t for t in texts]
        if not texts:
            del element["Value"]
    return element


@_on_elements("writes numbers as text, and rounds them", "json")
def numbers_as_text(tag, element):
    if "Value" in element and element["vr"] not in ("SQ", "PN"):
        element["Value"] = [
            str(int(v)) + "1" if isinstance(v, int | float) else v for v in element["Value"]
        ]
    return element


@_on_elements("writes IS and DS as text", "json")
def decimal_text(tag, element):
    if element["vr"] in ("IS", "DS") and "Value" in element:
        element["Value"] = [str(v) for v in element["Value"]]
    return element


@_on_elements("writes numbers of FL and US as text", "json")
def binary_numbers_as_text(tag, element):
    if element["vr"] in ("FL", "FD", "SL", "SS", "UL", "US") and "Value" in element:
        element["Value"] = [str(v) for v in element["Value"]]
    return element


@_on_elements("drops binary values", "json", "bulk")
def binary_dropped(tag, element):
    return None if element["vr"] in ("OB", "OD", "OF", "OL", "OV", "OW", "UN") else element


@_on_elements("writes AT in small letters", "json")
def small_at(tag, element):
    if element["vr"] == "AT":
        element["Value"] = [v.lower() for v in element["Value"]]
    return element


@_on_elements("leaves empty attributes out", "json", "metadata")
def empty_left_out(tag, element):
    return (
        element
        if "Value" in element or "BulkDataURI" in element or "InlineBinary" in element
        else None
    )


@_on_elements("gives empty attributes an empty text", "json")
def empty_text(tag, element):
    return element if len(element) > 1 else {**element, "Value": [""]}


@_on_elements("leaves empty values among others out", "json")
def null_left_out(tag, element):
    if "Value" in element:
        element["Value"] = [v for v in element["Value"] if v is not None]
    return element


@_on_elements("leaves sequences in sequences out, and empty items", "json")
def flat_sequences(tag, element):
    if element["vr"] == "SQ" and element.get("Value"):
        element["Value"] = [
            {t: e for t, e in item.items() if e["vr"] != "SQ"} for item in element["Value"]
        ]
        element["Value"] = [item for item in element["Value"] if item] or [
            {"00080100": {"vr": "SH"}}
        ]
    return element


@_on_elements("leaves private attributes out", "json", "metadata")
def private_left_out(tag, element):
    return None if int(tag[:4], 16) % 2 else element


@_on_elements("writes names as text", "json", "search")
def names_as_text(tag, element):
    if element["vr"] == "PN" and "Value" in element:
        element["Value"] = [v["Alphabetic"] for v in element["Value"]]
    return element


@_on_elements("knows the alphabetic group of names alone", "json")
def first_group(tag, element):
    if element["vr"] == "PN" and "Value" in element:
        element["Value"] = [{"Alphabetic": v["Alphabetic"]} for v in element["Value"]]
    return element


@_on_elements("writes ? for what is not ASCII", "json")
def ascii_alone(tag, element):
    text = json.dumps(element, ensure_ascii=False).encode("ascii", "replace").decode()
    return json.loads(text)


@_on_elements("keeps the repertoire of the file in (0008,0005)", "json")
def repertoire_kept(tag, element):
    return {"vr": "CS", "Value": ["ISO_IR 100"]} if tag == "00080005" else element


@_on_elements("drops an encapsulated document", "json", "bulk")
def document_dropped(tag, element):
    return None if tag == "00420011" else element


@_on_elements("pads what it shows", "json")
def padded(tag, element):
    if (
        element["vr"] in ("UI", "CS")
        and "Value" in element
        and tag not in ("00080018", "0020000D", "0020000E")
    ):
        element["Value"] = [f"{v}\0" if isinstance(v, str) else v for v in element["Value"]]
    return element


# Instances


@on_parts("leaves the last part out", "instance", "frames", "bulk")
def last_part_lost(parts):
    return parts[:-1] if len(parts) > 1 else [("application/none", "", b"none")]


@on_answer("does not close its multipart bodies", "instance", "frames", "bulk")
def not_closed(ask, answer):
    if is_multipart(answer):
        answer.body = answer.body.rstrip(b"\r\n-")


@on_answer("does not name the type of its parts", "instance", "frames", "negotiate", "metadata")
def type_unnamed(ask, answer):
    if is_multipart(answer):
        answer.headers["Content-Type"] = re.sub(
            ' type="[^"]*";', "", answer.headers["Content-Type"]
        )


@on_answer("does not quote the type of its parts", "instance")
def type_unquoted(ask, answer):
    if is_multipart(answer):
        answer.headers["Content-Type"] = answer.headers["Content-Type"].replace('"', "")


@on_answer("has a boundary of a hundred characters, always the same", "instance", "frames")
def long_boundary(ask, answer):
    if is_multipart(answer):
        old = answer.headers["Content-Type"].partition("boundary=")[2]
        answer.body = answer.body.replace(old.encode(), b"x" * 100)
        answer.headers["Content-Type"] = answer.headers["Content-Type"].replace(old, "x" * 100)


def _without(name):
    def change(ask, answer):
        if is_multipart(answer):
            answer.body = re.sub(rb"\r\n" + name + rb": [^\r\n]*", b"", answer.body)

    return change


@on_answer("does not type its parts", "instance", "frames", "bulk")
def parts_untyped(ask, answer):
    _without(b"Content-Type")(ask, answer)


@on_answer("does not say where its parts lie", "instance", "frames")
def parts_unplaced(ask, answer):
    _without(b"Content-Location")(ask, answer)


@on_answer("does not tell the lengths of its parts", "instance")
def parts_unmeasured(ask, answer):
    _without(b"Content-Length")(ask, answer)


@on_parts("does not name transfer syntaxes", "instance", "frames")
def syntax_unnamed(parts):
    return [(kind.partition(";")[0], where, body) for kind, where, body in parts]


@on_parts("sends data sets without file meta", "instance", where=is_instance)
def no_part_10(parts):
    return [(kind, where, body[132:]) for kind, where, body in parts]


@on_ask("has no single-part answers", "instance", "frames", "bulk", "uri", "http")
def no_single_part(ask):
    accept = ask.headers.get("accept", "")
    if accept in (DICOM, OCTETS) or ask.query == "accept=application/dicom":
        ask.headers["accept"], ask.query = "no/such", ""


def _encoding(sentence, *finds):
    """Register a server whose `Held` differs in one method."""

    def register(change):
        class Faulty(Reference):
            def __init__(self, holdings=None):
                super().__init__(holdings)
                for held in self.holdings.select():
                    held = type("Other", (Held,), change)(held.ds, held.file, held.json)
                    self.holdings.put(held)

        Faulty.__name__ = change["name"]
        fault(sentence, *finds)(Faulty)

    return register


_encoding("changes an attribute on the way", "instance")(
    {
        "name": "attributes_changed",
        "encode": lambda self, syntax: (
            Held.encode(self, syntax)
            .replace(b"Maker of", b"Taker of")
            .replace(b"ORIGINAL", b"DERIVED ")
        ),
    }
)
_encoding("changes pixels on the way", "instance", "frames", "bulk", "rendered")(
    {
        "name": "pixels_changed",
        "encode": lambda self, syntax: Held.encode(self, syntax)[:-40] + bytes(40),
        "frames": lambda self, syntax: [f[:-4] + b"\1\2\3\4" for f in Held.frames(self, syntax)],
        "bulk": lambda self, keyword: Held.bulk(self, keyword)[:-4] + b"\1\2\3\4",
    }
)
_encoding("does not swap the bytes of what was big-endian", "instance", "frames")(
    {
        "name": "not_swapped",
        "frames": lambda self, syntax: (
            [bytes(self.ds.PixelData)] if self.syntax == BIG else Held.frames(self, syntax)
        ),
        "bulk": lambda self, keyword: (
            bytes(self.ds[keyword].value) if self.syntax == BIG else Held.bulk(self, keyword)
        ),
    }
)
_encoding("decompresses colour by plane", "instance", "frames")(
    {
        "name": "by_plane",
        "_decode": lambda self, index: self.array(index).transpose(2, 0, 1).tobytes(),
    }
)
_encoding("sends fragments with their item tags", "frames")(
    {
        "name": "item_tags_left",
        "frames": lambda self, syntax: [
            b"\xfe\xff\x00\xe0" + f if syntax not in (EXPLICIT, IMPLICIT) else f
            for f in Held.frames(self, syntax)
        ],
    }
)


@fault("sends every instance as it is stored", "instance", "uri")
class as_stored_always(Reference):
    def read(self, ask, parts):
        if is_instance(ask):
            found = self.find(tuple(parts[1::2]))
            choose(ask, [("multipart/related", DICOM), (DICOM, None), ("application/zip", None)])
            parts = [(DICOM, ask.root + h.path, h.file) for h in found]
            if ask.headers.get("accept") == DICOM:
                return Answer(200, {"Content-Type": DICOM}, found[0].file)
            return retrieving.join(parts, DICOM)
        return super().read(ask, parts)

    def read_uri_file(self, asked, held):
        return Answer(200, {"Content-Type": DICOM}, held.file)


@on_ask("decompresses always", "instance", "frames")
def always_decompressed(ask):
    ask.headers["accept"] = ask.headers.get("accept", "*/*").replace(
        "transfer-syntax=*", f"transfer-syntax={EXPLICIT}"
    )


@on_ask("does not decompress", "instance", "frames")
def never_decompressed(ask):
    if is_instance(ask) or is_frames(ask):
        accept = ask.headers.get("accept", "*/*").replace(
            f"transfer-syntax={EXPLICIT}", "transfer-syntax=*"
        )
        if "transfer-syntax" not in accept and "multipart" in accept:
            ask.headers["accept"] = accept + "; transfer-syntax=*"
        else:
            ask.headers["accept"] = accept


@on_ask("refuses transfer-syntax=*", "instance", "frames", "json")
def any_syntax_refused(ask):
    ask.headers["accept"] = ask.headers.get("accept", "*/*").replace(
        "transfer-syntax=*", "transfer-syntax=1.2.3"
    )


@on_ask("does not read a quoted transfer syntax, nor a boundary", "instance")
def quoted_syntax_refused(ask):
    accept = ask.headers.get("accept", "*/*")
    if 'syntax="' in accept or "boundary" in accept:
        ask.headers["accept"] = "no/such"


@on_answer("sends broken zip archives", "instance")
def broken_zip(ask, answer):
    if answer.headers.get("Content-Type") == "application/zip":
        answer.body = answer.body[:-30]


@fault("fails at paths that hold no UID", "instance", "search", "http")
class bad_paths_fail(Reference):
    def read(self, ask, parts):
        if any(not part.replace(".", "").isdigit() for part in parts[1:6:2]):
            raise Problem(500, "Oh.")
        return super().read(ask, parts)


# Frames


def _on_frames(sentence, *finds):
    """Register a server that is asked for other frames."""

    def register(change):
        def change_ask(ask):
            if is_frames(ask):
                head, _, text = ask.path.rpartition("/")
                ask.path = f"{head}/{change(text)}"

        change_ask.__name__ = change.__name__
        on_ask(sentence, *finds)(change_ask)
        return change

    return register


@_on_frames("counts frames from 0", "frames")
def frames_from_zero(text):
    return re.sub("[0-9]+", lambda m: str(int(m[0]) + 1), text)


@_on_frames("sends frame 1 whatever is asked", "frames")
def first_frame_always(text):
    return "1"


@_on_frames("sorts frames, and sends each once", "frames")
def frames_sorted(text):
    return ",".join(sorted(set(text.split(",")))) if re.fullmatch("[0-9,]+", text) else text


@_on_frames("sends one frame of a list", "frames")
def first_of_list(text):
    return re.split(",|%2C", text)[0]


@on_ask("does not decode paths", "frames", "http")
def encoded_path(ask):
    ask.path = ask.path.replace("%", "%25")


@fault("fails at frames that are not there", "frames")
class bad_frames_fail(Reference):
    def change_answer(self, ask, answer):
        return gone(500) if is_frames(ask) and answer.status in (400, 404) else answer


@on_answer("answers 404 to frame 0", "frames", where=is_frames, ok=False)
def frame_zero_404(ask, answer):
    return gone() if answer.status == 400 else answer


@on_answer("has no frames", "frames", "http", where=is_frames)
def no_frames(ask, answer):
    return gone()


@on_parts("calls every frame image/jpeg", "frames", "bulk", where=is_frames)
def frames_misnamed(parts):
    return [("image/jpeg; transfer-syntax=1.2.3", where, body) for _, where, body in parts]


@on_parts("calls compressed frames application/octet-stream", "frames", where=is_frames)
def frames_as_octets(parts):
    return [(OCTETS, where, body) for _, where, body in parts]


@on_ask("has no frames but of its own media types", "frames")
def image_types_alone(ask):
    if is_frames(ask) and "octet-stream" in ask.headers.get("accept", "").lower():
        ask.headers["accept"] = 'multipart/related; type="image/none"'


@on_ask("passes over media types of images", "frames")
def rle_type_broken(ask):
    if is_frames(ask) and ask.headers.get("accept", "").startswith(
        'multipart/related; type="image/dicom-rle"'
    ):
        ask.headers["accept"] = (
            f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}'
        )


@fault("serves its first client, and answers 503 to others", "frames", "refuse")
class one_client_alone(Reference):
    first = None

    def answer(self, ask):
        self.first = self.first or ask.peer
        return super().answer(ask) if ask.peer == self.first else gone(503)


# Bulk data


@on_answer("has nothing at its BulkDataURIs", "bulk", "json", where=is_bulk)
def no_bulk(ask, answer):
    return gone()


@on_ask("sends bulk data as multipart alone", "bulk")
def bulk_multipart_alone(ask):
    if is_bulk(ask) and ask.headers["accept"] == OCTETS:
        ask.headers["accept"] = "no/such"


@on_ask("refuses */* for bulk data", "bulk")
def bulk_any_refused(ask):
    if is_bulk(ask) and ask.headers["accept"] == "*/*":
        ask.headers["accept"] = "no/such"


@on_data_sets("gives BulkDataURIs of the host behind a proxy", "bulk", where=is_metadata)
def bulk_of_other_host(data_set):
    for element in data_set.values():
        if "BulkDataURI" in element:
            element["BulkDataURI"] = element["BulkDataURI"].replace("127.0.0.1", "localhost")


@on_parts("leaves documents out of bulk data", "bulk", where=is_bulk)
def documents_left_out(parts):
    return [p for p in parts if not p[2].startswith(b"%PDF")] or [(OCTETS, "", b"none")]


@on_answer("is off by one in ranges", "bulk", "http", ok=False)
def ranges_off(ask, answer):
    if answer.status == 206:
        answer.body = b"\0" + answer.body
    elif answer.status == 416:
        return gone(404)
    return answer


@on_answer("answers a Range that is none", "http", ok=False)
def range_nonsense_refused(ask, answer):
    return gone(416) if ask.headers.get("range", "").startswith("lines") else answer
