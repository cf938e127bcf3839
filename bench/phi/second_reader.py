"""A second reader over the pictures of an output: does it read anything of the patient's?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydicom import dcmread

from lamella.deid.scoring.pixels import Reader, make_grey, read_pixels
from lamella.deid.scoring.texts import list_words

_LEAST_CHARACTERS = 5
"""Of a word: shorter ones are read into noise now and then."""


def read_again(
    wanted: Mapping[str, Iterable[str]], output: Path, uids: Mapping[str, str], reader: Reader
) -> Iterator[tuple[str, str]]:
    """Yield (file, word) of each secret word that the reader sees in a picture.

    Args:
        wanted: By original SOP Instance UID, what must be nowhere.
        output: Files, at any depth.
        uids: Old to new.
        reader: Another engine than the pipeline's.
    """
    old = {new: uid for uid, new in uids.items() if uid in wanted}
    for path in sorted(output.rglob("*.dcm")):
        ds = dcmread(path)
        uid = old.get(str(ds.SOPInstanceUID))
        if uid is None or "PixelData" not in ds or ds.BitsAllocated == 1:
            continue
        secret = {word for text in wanted[uid] for word in list_words(text)}
        frame = read_pixels(ds).samples[0]
        for word in set(list_words(reader(make_grey(frame, frame)))):
            if len(word) >= _LEAST_CHARACTERS and word in secret:
                yield path.name, word
