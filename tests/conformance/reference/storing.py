"""The reference server's stores and deletes."""

import io
import json
import zipfile

from pydicom import Dataset

from lamella.conformance.multipart import parse_parameters, split_parts
from lamella.conformance.native_xml import read_native, write_native
from lamella.conformance.samples import write_file

from .holdings import read_held
from .messages import DICOM, DICOM_JSON, DICOM_XML, JSON, Answer, Problem, choose

_OFFERS = [(DICOM_JSON, None), (JSON, None), (DICOM_XML, None), ("multipart/related", DICOM_XML)]


def send_store(ask, holdings, study_uid):
    """Store what a request holds, and say what became of it."""
    (kind, _), _ = choose(ask, _OFFERS)
    files = read_files(ask)
    if not files:
        raise Problem(400, "The request holds nothing.")
    stored, failed, other = [], [], []
    for file in files:
        try:
            held = read_held(file)
        except ValueError:
            other.append({"00081197": {"vr": "US", "Value": [0xC000]}})
            continue
        if study_uid not in (None, held.key[0]):
            failed.append({**refer(held), "00081197": {"vr": "US", "Value": [0xA900]}})
        else:
            holdings.put(held)
            stored.append(
                {**refer(held), "00081190": {"vr": "UR", "Value": [ask.root + held.path]}}
            )
    module = {
        tag: {"vr": "SQ", "Value": items}
        for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", other))
        if items
    }
    status = 409 if not stored else 202 if failed or other else 200
    if kind in (DICOM_JSON, JSON):
        return Answer(status, {"Content-Type": kind}, json.dumps(module).encode())
    return Answer(status, {"Content-Type": DICOM_XML}, write_native(module))


def refer(held):
    return {
        "00081150": {"vr": "UI", "Value": [str(held.ds.SOPClassUID)]},
        "00081155": {"vr": "UI", "Value": [str(held.ds.SOPInstanceUID)]},
    }


def read_files(ask):
    """Return the instances of a request as files.

    Raises:
        Problem: 400 or 415.
    """
    content_type = ask.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == DICOM:
        return [ask.body]
    if kind == "application/zip":
        with zipfile.ZipFile(io.BytesIO(ask.body)) as archive:
            return [archive.read(name) for name in archive.namelist()]
    parameters = parse_parameters(content_type)
    root = parameters.get("type", "").lower()
    if kind != "multipart/related" or root not in (DICOM, DICOM_JSON, DICOM_XML):
        raise Problem(415, f"There are: {DICOM}, {DICOM_JSON}, {DICOM_XML}.")
    try:
        parts = split_parts(content_type, ask.body)
    except ValueError as error:
        raise Problem(400, str(error)) from error
    return [part.body for part in parts] if root == DICOM else build_files(root, parts)


def build_files(root, parts):
    """Return files of metadata and the bulk data beside them."""
    bulk = {part.headers.get("content-location"): part.body for part in parts}
    read = json.loads if root == DICOM_JSON else read_native
    found = [read(part.body) for part in parts if part.media_type == root]
    data_sets = [d for each in found for d in (each if isinstance(each, list) else [each])]
    files = []
    for data_set in data_sets:
        try:
            ds = Dataset.from_json(data_set, lambda tag, vr, uri: bulk[uri])
        except KeyError as error:
            raise Problem(400, f"There is no bulk data at {error}.") from error
        files.append(write_file(ds))
    return files


def send_delete(holdings, uids):
    found = holdings.select(*uids)
    if not found:
        raise Problem(404, "There is nothing to delete.")
    holdings.remove(found)
    return Answer(204)
