"""Metadata of a study, series or instance: the stored DICOM JSON, with bulk data located.

Source:
    PS3.18 §10.4.1.1.2 and Annex F.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.bulk_uris import fill_holes
from lamella.dicomweb.media_types import DICOM_JSON, DICOM_XML, JSON
from lamella.dicomweb.negotiation import negotiate_json
from lamella.dicomweb.pinned import Pinned
from lamella.errors import NotAcceptable, ResourceNotFound
from lamella.vcs.repository import NotCached
from lamella.vcs.selection import Selected, SelectedSeries, pick_series, select, select_series
from lamella.wado.series_metadata import answer_series
from lamella.wado.stored_documents import read_documents

XML_UP_TO = 2000  # instances


async def answer_metadata(
    pinned: Pinned, study_uid: str, series_uid: str | None, sop_uid: str | None
) -> Answer:
    """Return the metadata of the instances of a study or series, or of one, as one JSON array.

    Raises:
        ResourceNotFound: The view has none of these.
        NotAcceptable: The client takes neither JSON nor XML.
    """
    form = negotiate_json(pinned.accept, (DICOM_JSON, JSON, DICOM_XML))
    repository, view = pinned.services.repository, pinned.view
    if not form.is_xml and sop_uid is None:
        series = await _select_series(pinned, study_uid, series_uid)
        return await answer_series(pinned, series, form.media_type)
    selected = await repository.archive.database.read(
        lambda c: select(c, repository, view, study_uid, series_uid, sop_uid)
    )
    if form.is_xml:
        return await _answer_xml(pinned, selected)
    documents = await read_documents(pinned, selected)
    filled = [fill_holes(documents[one.key].dicom_json, pinned.url(*one.path)) for one in selected]
    return await pinned.answer(form.media_type, b"[" + b",".join(filled) + b"]")


async def _select_series(
    pinned: Pinned, study_uid: str, series_uid: str | None
) -> list[SelectedSeries]:
    repository, view = pinned.services.repository, pinned.view
    if series_uid is not None:
        try:
            return [pick_series(repository.recall_tree(view.root), study_uid, series_uid)]
        except (NotCached, ResourceNotFound):
            pass  # the database has it, or knows why it is not there
    return await repository.archive.database.read(
        lambda c: select_series(c, repository, view, study_uid, series_uid)
    )


async def _answer_xml(pinned: Pinned, selected: Sequence[Selected]) -> Answer:
    if len(selected) > XML_UP_TO:
        raise NotAcceptable(f"XML is given for {XML_UP_TO} instances at most: ask for JSON.")
    documents = await read_documents(pinned, selected)
    data_sets = (
        msgspec.json.decode(fill_holes(documents[one.key].dicom_json, pinned.url(*one.path)))
        for one in selected
    )
    return await pinned.answer_xml(data_sets)
