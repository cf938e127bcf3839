"""A sheet of the thumbnails of all images at hand, for a person to look at.

python -m tests.harness.contact_sheet docs/pictures/contact-sheet.png
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.harness.collection import open_client
from tests.harness.server import serve
from tests.integration.corpus import ROOTS, Sample, find_samples, import_apart

SIDE, LABEL, COLUMNS = 88, 11, 16
FILES_A_FOLDER = 6
COLOURS = 256  # of the sheet's palette: it has to stay small


def collect(folder: Path) -> list[tuple[str, Image.Image | None]]:
    """Return name and thumbnail of each stored file; None for what is no image."""
    samples = _choose(find_samples())
    asyncio.run(import_apart(folder / "data", samples, folder / "exported"))
    found = []
    with serve(folder / "data") as server, open_client() as client:
        for sample in (one for one in samples if one.is_stored):
            url, _ = sample.urls(server.http)
            answer = client.get(f"{url}/thumbnail?viewport={SIDE},{SIDE}&accept=image/png")
            if answer.status_code == 404:
                continue
            picture = None
            if answer.status_code == 200:
                picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
            found.append((_name(sample), picture))
    return found


def draw(entries: Sequence[tuple[str, Image.Image | None]]) -> Image.Image:
    """Return the sheet; what could not be rendered has a red cross."""
    rows = -(-len(entries) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 4), rows * (SIDE + LABEL + 4)), (40, 48, 64))
    drawing = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(8)
    for index, (name, picture) in enumerate(entries):
        left = index % COLUMNS * (SIDE + 4) + 2
        top = index // COLUMNS * (SIDE + LABEL + 4) + 2
        if picture is None:
            drawing.line((left, top, left + SIDE, top + SIDE), (255, 60, 60), 2)
            drawing.line((left, top + SIDE, left + SIDE, top), (255, 60, 60), 2)
        else:
            gap = ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2)
            sheet.paste(picture, (left + gap[0], top + gap[1]))
        drawing.text((left, top + SIDE), name[-22:], (220, 220, 220), font)
    return sheet


def _choose(samples: Sequence[Sample]) -> list[Sample]:
    """Return a few files of each folder of the shared collection: series look much alike."""
    shared = [sample for sample in samples if ROOTS[0] in sample.path.parents]
    folders = Counter[Path]()
    chosen = []
    for sample in shared:
        folder = sample.path.parent
        folders[folder] += 1
        if folders[folder] <= FILES_A_FOLDER or folder.name == "data":
            chosen.append(sample)
    return chosen


def _name(sample: Sample) -> str:
    return Path(sample.name).stem


def main() -> None:
    """Write the sheet to the path that is given."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        entries = collect(Path(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet = draw(entries).quantize(COLOURS, dither=Image.Dither.NONE)
    sheet.save(target, optimize=True)
    failed = [name for name, picture in entries if picture is None]
    print(f"{len(entries)} images, {len(failed)} not rendered: {', '.join(failed)}")


if __name__ == "__main__":
    main()
