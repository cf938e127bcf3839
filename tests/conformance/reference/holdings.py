"""What the reference server holds: instances in memory, with their JSON and their frames."""

import io
import threading
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder

from lamella.conformance.samples import RLE

from .messages import BIG, EXPLICIT, IMPLICIT

BULK = ("PixelData", "EncapsulatedDocument")
_STRINGS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UC", "UI"})


@dataclass
class Held:
    """One instance.

    Attributes:
        json: DICOM JSON; of bulk values `{bulk}` stands for the URL before the tag.
    """

    ds: object
    file: bytes
    json: dict = field(repr=False)

    @property
    def key(self):
        return self.ds.StudyInstanceUID, self.ds.SeriesInstanceUID, self.ds.SOPInstanceUID

    @property
    def path(self):
        return "/studies/{}/series/{}/instances/{}".format(*self.key)

    @property
    def syntax(self):
        return str(self.ds.file_meta.TransferSyntaxUID)

    def bulk(self, keyword):
        """Return the bytes of a bulk value in little endian, native if it was RLE."""
        if keyword == "PixelData" and self.syntax not in (EXPLICIT, IMPLICIT):
            return b"".join(self.frames(EXPLICIT))
        return bytes(self.ds[keyword].value)

    def frames(self, syntax):
        """Return frames as they are stored, or native."""
        if "PixelData" not in self.ds:
            return []
        count = int(self.ds.get("NumberOfFrames") or 1)
        if self.syntax not in (EXPLICIT, IMPLICIT, BIG):
            stored = list(generate_frames(self.ds.PixelData, number_of_frames=count))
            return stored if syntax == self.syntax else [self._decode(i) for i in range(count)]
        data = bytes(self.ds.PixelData)
        if self.syntax == BIG and self.ds.BitsAllocated == 16:
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
        size = self.ds.Rows * self.ds.Columns * self.ds.SamplesPerPixel * self.ds.BitsAllocated // 8
        return [data[i * size : (i + 1) * size] for i in range(count)]

    def array(self, index):
        """Return one frame as rows × columns [× samples]."""
        if self.syntax not in (EXPLICIT, IMPLICIT, BIG):
            array = get_decoder(self.syntax).as_array(self.ds, index=index)[0]
            return array
        kind = {8: "u1", 16: "i2" if self.ds.PixelRepresentation else "u2"}[self.ds.BitsAllocated]
        array = np.frombuffer(self.frames(EXPLICIT)[index], f"<{kind}")
        shape = (self.ds.Rows, self.ds.Columns)
        return array.reshape(*shape, 3) if self.ds.SamplesPerPixel == 3 else array.reshape(shape)

    def encode(self, syntax):
        """Return the instance as a file in one transfer syntax."""
        if syntax == self.syntax:
            return self.file
        ds = dcmread(io.BytesIO(self.file))
        if "PixelData" in ds:
            ds.PixelData = self.bulk("PixelData") + b"\0" * (len(self.bulk("PixelData")) % 2)
            ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
            ds["PixelData"].is_undefined_length = False
            if self.syntax == RLE:
                ds.PlanarConfiguration = 0
        plain = Dataset()
        for element in ds:
            plain.add(element)
        plain.file_meta = ds.file_meta
        plain.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        plain.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
        return buffer.getvalue()

    def _decode(self, index):
        return np.ascontiguousarray(self.array(index)).tobytes()


class Holdings:
    """All instances, in the order in which they came."""

    def __init__(self, held=()):
        self._held = {item.ds.SOPInstanceUID: item for item in held}
        self.lock = threading.RLock()

    def copy(self):
        return Holdings(self._held.values())

    def put(self, held):
        with self.lock:
            self._held[held.ds.SOPInstanceUID] = held

    def remove(self, found):
        with self.lock:
            for item in found:
                del self._held[item.ds.SOPInstanceUID]

    def select(self, *uids):
        """Return what lies under a study, a series, an instance, or all."""
        with self.lock:
            return [item for item in self._held.values() if item.key[: len(uids)] == uids]


def read_held(file):
    """Return a file as what is held.

    Raises:
        ValueError: It is none, or lacks a UID.
    """
    try:
        ds = dcmread(io.BytesIO(file))
        ds.walk(lambda _, __: None)
    except Exception as error:
        raise ValueError(str(error)) from error
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not ds.get(keyword):
            raise ValueError(f"no {keyword}")
        setattr(ds, keyword, str(ds[keyword].value))
    return Held(ds, file, describe(ds))


def describe(ds):
    """Return a data set as DICOM JSON."""
    found = {}
    for element in ds:
        if element.keyword in BULK:
            found[f"{element.tag:08X}"] = {
                "vr": element.VR,
                "BulkDataURI": f"{{bulk}}{element.tag:08X}",
            }
        elif element.tag.element != 0:
            found[f"{element.tag:08X}"] = tidy(element.to_json_dict(None, 2**20))
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found


def tidy(element):
    """Leave out empty values, and say null for those among others (PS3.18 §F.2.5)."""
    values = element.get("Value")
    if values is None:
        return element
    if element["vr"] == "SQ":
        values = [{tag: tidy(part) for tag, part in item.items()} for item in values]
    elif element["vr"] in _STRINGS:
        values = [None if value == "" else value for value in values]
    return {
        "vr": element["vr"],
        **({"Value": values} if any(v is not None for v in values) else {}),
    }
