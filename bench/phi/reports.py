"""Content trees of structured reports, with identifiers in items of every kind."""

from __future__ import annotations

from datetime import timedelta

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from bench.phi.key import name_item, name_tag
from bench.phi.people import make_subject
from bench.phi.planting import Planter
from bench.phi.rules import PROFILES, Rule, read_concepts
from bench.phi.sentences import Sentence, make_clean, make_mixed

_CONTENT = 0x0040A730
_PLACES = {
    "TEXT": (0x0040A160, "UT"),
    "PNAME": (0x0040A123, "PN"),
    "DATE": (0x0040A121, "DA"),
    "DATETIME": (0x0040A120, "DT"),
    "TIME": (0x0040A122, "TM"),
    "UIDREF": (0x0040A124, "UI"),
}
_ITEMS = 14


def plant_report(planter: Planter) -> None:
    """Give a data set a content tree, two containers deep."""
    random = planter.random
    concepts = [one for one in read_concepts(planter.profile) if one.value_type in _PLACES]
    chosen = {one.key: one for one in random.sample(concepts, _ITEMS)}
    planter.ds.ValueType = "CONTAINER"
    planter.ds.ContinuityOfContent = "SEPARATE"
    planter.ds.ConceptNameCodeSequence = [_make_code("126000,DCM", "Imaging Measurement Report")]
    top = name_tag(_CONTENT)
    listed = list(chosen.values())
    outer = [_make_item(planter, concept, top) for concept in listed[: _ITEMS // 2]]
    inner_at = name_tag(_CONTENT, name_item(top, "126010,DCM"))
    inner = [_make_item(planter, concept, inner_at) for concept in listed[_ITEMS // 2 :]]
    # a concept that the table has not: its text is cleaned; a measurement stays
    other = Rule("250001,99LOCAL", "Remark", _unlisted(planter), "TEXT")
    inner += [_make_item(planter, other, inner_at), _make_measurement(planter, inner_at)]
    container = Dataset()
    container.RelationshipType, container.ValueType = "CONTAINS", "CONTAINER"
    container.ContinuityOfContent = "SEPARATE"
    container.ConceptNameCodeSequence = [_make_code("126010,DCM", "Imaging Measurements")]
    container.ContentSequence = Sequence(inner)
    planter.ds.ContentSequence = Sequence([*outer, container])


def _is_cleaned(planter: Planter) -> bool:
    return "clean_structured_content" in PROFILES[planter.profile]


def _unlisted(planter: Planter) -> str:
    return "C" if _is_cleaned(planter) else "X"


def _make_item(planter: Planter, concept: Rule, above: str) -> Dataset:
    tag, vr = _PLACES[concept.value_type]
    sentence = _make_value(planter, concept, vr)
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", concept.value_type
    item.ConceptNameCodeSequence = [_make_code(concept.key, concept.name)]
    item.add_new(tag, vr, sentence.text)
    # without the option, Content Sequence is replaced whole
    code = concept.code if _is_cleaned(planter) else "X"
    path = name_tag(tag, name_item(above, concept.key))
    planter.note(code, path, vr, sentence, f"report: {concept.value_type}")
    return item


def _make_value(planter: Planter, concept: Rule, vr: str) -> Sentence:
    random, subject = planter.random, planter.subject
    day = subject.study_day - timedelta(days=random.randrange(1, 300))
    if vr == "UT" and concept.code == "C":
        return planter.describe()
    if vr == "UT" and concept.code == "K":
        return make_clean(random)
    if vr == "UT":
        sentence = make_mixed(random, subject)
        return Sentence(sentence.text, sentence.secrets)
    return Sentence(
        {
            "PN": make_subject(random, 0).name.dicom,
            "DA": f"{day:%Y%m%d}",
            "DT": f"{day:%Y%m%d}0930",
            "TM": "093000",
            "UI": str(generate_uid(entropy_srcs=[str(random.random())])),
        }[vr]
    )


def _make_measurement(planter: Planter, above: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "NUM"
    item.ConceptNameCodeSequence = [_make_code("410668003,SCT", "Length")]
    value = Dataset()
    value.NumericValue = str(planter.random.randrange(30, 900) / 10)
    value.MeasurementUnitsCodeSequence = [_make_code("mm,UCUM", "millimeter")]
    item.MeasuredValueSequence = [value]
    if _is_cleaned(planter):
        at = name_item(name_tag(0x0040A300, name_item(above, "410668003,SCT")))
        number = value.NumericValue
        planter.answers.add("text_retained", name_tag(0x0040A30A, at), number, "report: NUM")
    return item


def _make_code(key: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = key.split(",", 1)
    code.CodeMeaning = meaning
    return code
