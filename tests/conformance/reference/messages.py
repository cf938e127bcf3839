"""Requests and answers of the reference server, and the choice of a media type."""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from lamella.conformance.multipart import parse_parameters

DICOM, OCTETS, JSON = "application/dicom", "application/octet-stream", "application/json"
DICOM_JSON, DICOM_XML = "application/dicom+json", "application/dicom+xml"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


@dataclass
class Ask:
    """A request; faulty servers change it before it is answered."""

    method: str
    path: str
    query: str
    headers: dict
    body: bytes
    root: str = ""
    peer: object = None

    @property
    def segments(self):
        return [unquote(part) for part in self.path.strip("/").split("/") if part]

    @property
    def parameters(self):
        return parse_qsl(self.query, keep_blank_values=True, errors="strict")

    def parameter(self, name):
        return dict(self.parameters).get(name)

    @property
    def ranges(self):
        """The acceptable media ranges: media type, parameters, q; what is none is passed over."""
        accept = self.parameter("accept") or self.headers.get("accept") or "*/*"
        return [found for part in split_list(accept) if (found := read_range(part))]


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""


class Problem(Exception):
    def __init__(self, status, detail, **headers):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers

    def to_answer(self):
        body = json.dumps({"title": f"Status {self.status}", "detail": self.detail}).encode()
        return Answer(self.status, {"Content-Type": JSON, **self.headers}, body)


def split_list(text):
    """Split a header field at its commas, but for those in quotation marks."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def read_range(text):
    media_type = text.partition(";")[0].strip().lower()
    kind, slash, subtype = media_type.partition("/")
    if not (kind and slash and subtype) or "/" in subtype:
        return None
    parameters = parse_parameters(text)
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        return None
    return media_type, parameters, quality


def choose(ask, offers, fits=lambda offer, parameters: True):
    """Return the offer that the request likes best, and the parameters of its range.

    Args:
        offers: `(media type, type of the parts or None)`, the default first.
        fits: Whether an offer can be made with a range's parameters.

    Raises:
        Problem: 406.
    """
    best = None
    for place, offer in enumerate(offers):
        for order, (media_type, parameters, quality) in enumerate(ask.ranges):
            precise = how_precise(media_type, parameters, offer)
            if precise is None or not quality or not fits(offer, parameters):
                continue
            rank = (quality, -order if precise else -100 - order, -place)
            if best is None or rank > best[0]:
                best = (rank, offer, parameters)
    if best is None:
        kinds = ", ".join(root or kind for kind, root in offers)
        raise Problem(406, f"There are: {kinds}.")
    return best[1], best[2]


def how_precise(media_type, parameters, offer):
    kind, root = offer
    if media_type == "*/*":
        return 0
    if media_type.endswith("/*"):
        return 0 if kind.startswith(media_type[:-1]) else None
    wanted = parameters.get("type", "").lower()
    return 1 if media_type == kind and (not root or not wanted or wanted == root) else None


def join(parts, root):
    """Return a multipart answer of `(Content-Type, Content-Location, body)`."""
    import secrets

    boundary = secrets.token_hex(16)
    pieces = []
    for content_type, location, body in parts:
        pieces.append(
            f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Location: {location}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
            + b"\r\n"
        )
    pieces.append(f"--{boundary}--\r\n".encode())
    content_type = f'multipart/related; type="{root}"; boundary={boundary}'
    return Answer(200, {"Content-Type": content_type}, b"".join(pieces))
