"""The reference server's pictures."""

import re

import imagecodecs
import numpy as np

from .messages import Answer, Problem, choose, join

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"
KINDS = ((JPEG, None), (PNG, None), (GIF, None), (WEBP, None))
FUNCTIONS = ("linear", "linear-exact", "sigmoid")
REPORT = "<!doctype html><p>{}</p>"


def send_rendered(ask, held, index):
    """Send an instance, or one of its frames, as a picture or a document."""
    if "EncapsulatedDocument" in held.ds:
        ask.headers["accept"] = (
            "*/*" if "text/html" in ask.headers["accept"] else ask.headers["accept"]
        )
        choose(ask, [("application/pdf", None)])
        return Answer(200, {"Content-Type": "application/pdf"}, held.bulk("EncapsulatedDocument"))
    if "ContentSequence" in held.ds:
        choose(ask, [("text/html", None)])
        text = REPORT.format(held.ds.ContentSequence[0].TextValue).encode()
        return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, text)
    (kind, _), _ = choose(ask, KINDS)
    if "PixelData" not in held.ds or index >= int(held.ds.get("NumberOfFrames") or 1):
        raise Problem(404, "There is no such frame.")
    options = read_options(ask)
    return Answer(200, {"Content-Type": kind}, encode(draw(held, index, options), kind, options))


def send_all(ask, found):
    """Send a picture of each image."""
    choose(ask, [("multipart/related", JPEG)])
    images = [held for held in found if "PixelData" in held.ds]
    parts = [
        (JPEG, f"{ask.root}{h.path}/rendered", encode(draw(h, 0, {}), JPEG, {})) for h in images
    ]
    return join(parts, JPEG)


def send_thumbnail(ask, found):
    (kind, _), _ = choose(ask, KINDS)
    options = read_options(ask)
    if len(options.get("viewport", ())) > 2:
        raise Problem(400, "A thumbnail is not cropped.")
    options.setdefault("viewport", [8, 8])
    image = next((held for held in found if "PixelData" in held.ds), None)
    if image is None:
        raise Problem(404, "There is nothing to be seen.")
    return Answer(200, {"Content-Type": kind}, encode(draw(image, 0, options), kind, options))


def read_options(ask):
    options = {}
    for name, text in ask.parameters:
        reader = {
            "viewport": read_viewport,
            "window": read_window,
            "quality": read_quality,
            "annotation": read_annotation,
            "iccprofile": read_profile,
        }.get(name)
        if reader:
            options[name] = reader(text)
    return options


def read_viewport(text):
    if not re.fullmatch(r"\d+,\d+(,-?[\d.]*){0,4}", text):
        raise Problem(400, "That is no viewport.")
    numbers = [float(part) if part else None for part in text.split(",")]
    if not (numbers[0] and numbers[1]):
        raise Problem(400, "A viewport has some size.")
    return numbers


def read_window(text):
    match = re.fullmatch(r"(-?[\d.]+),(-?[\d.]+),([a-z-]+)", text)
    if not match or match[3] not in FUNCTIONS:
        raise Problem(400, "That is no window.")
    return float(match[1]), float(match[2]), match[3]


def read_quality(text):
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise Problem(400, "quality is 1 to 100.")
    return int(text)


def read_annotation(text):
    if not set(text.split(",")) <= {"patient", "technique"}:
        raise Problem(400, "annotation is patient, technique or both.")
    return text.split(",")


def read_profile(text):
    if text not in ("no", "yes", "srgb", "adobergb", "rommrgb"):
        raise Problem(400, "That is no ICC profile.")
    return text


def draw(held, index, options):
    """Return a picture as rows × columns [× 3] of 8 bits."""
    picture = apply_window(held, held.array(index), options.get("window"))
    if held.ds.PhotometricInterpretation == "MONOCHROME1":
        picture = 255 - picture
    return fit(picture, options.get("viewport"))


def apply_window(held, stored, window):
    if held.ds.SamplesPerPixel == 3:
        return stored
    values = stored * float(held.ds.get("RescaleSlope", 1)) + float(
        held.ds.get("RescaleIntercept", 0)
    )
    if window is None and "WindowCenter" in held.ds:
        window = (float(held.ds.WindowCenter), float(held.ds.WindowWidth), "linear")
    if window is None:
        window = ((values.max() + values.min() + 1) / 2, values.max() - values.min() + 1, "linear")
    centre, width, function = window
    if function == "sigmoid":
        scaled = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif function == "linear-exact":
        scaled = (values - centre) / width + 0.5
    else:
        scaled = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    return np.round(np.clip(scaled, 0, 1) * 255).astype("u1")


def fit(picture, viewport):
    """Crop, flip and scale to the nearest pixel (PS3.18 §8.3.5.1.3)."""
    if viewport is None:
        return picture
    rows, columns = picture.shape[:2]
    width, height, *region = viewport
    x, y, w, h = (*region, *[None] * 4)[:4]
    left, top = int(x or 0), int(y or 0)
    wide, high = int(w or columns - left), int(h or rows - top)
    part = picture[top : top + abs(high), left : left + abs(wide)]
    part = part[:: -1 if high < 0 else 1, :: -1 if wide < 0 else 1]
    scale = min(width / part.shape[1], height / part.shape[0])
    new_rows, new_columns = round(part.shape[0] * scale), round(part.shape[1] * scale)
    along = np.arange(new_rows) * part.shape[0] // new_rows
    across = np.arange(new_columns) * part.shape[1] // new_columns
    return part[along][:, across]


def encode(picture, kind, options):
    picture = np.ascontiguousarray(picture)
    if kind == JPEG:
        return bytes(imagecodecs.jpeg8_encode(picture, level=options.get("quality", 90)))
    if kind == PNG:
        return bytes(imagecodecs.png_encode(picture))
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    if kind == WEBP:
        return bytes(imagecodecs.webp_encode(colour, lossless=True))
    return bytes(
        imagecodecs.gif_encode(picture if picture.ndim == 2 else picture.mean(2).astype("u1"))
    )
