"""Texts as radiology writes them: with identifiers in them, and without."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from bench.phi.people import Subject, spell_date

CLEAN = (
    "CT chest with contrast",
    "MR brain without and with gadolinium",
    "Axial T2 FLAIR",
    "Gleason 7 adenocarcinoma of the prostate",
    "Hodgkin lymphoma, restaging",
    "Kerley B lines, no pleural effusion",
    "Foley catheter in situ",
    "Siemens SOMATOM Definition, kernel B30f",
    "Philips Ingenia 3T head coil",
    "GE Revolution, ASiR 50 percent",
    "Cobb angle 24 degrees",
    "Baker cyst of the left knee",
    "Swan-Ganz catheter tip in the right pulmonary artery",
    "Bosniak II cyst in the upper pole",
    "Crohn disease of the terminal ileum",
    "Paget disease of the pelvis",
    "BI-RADS 2, benign calcifications",
    "Liver segment IVa lesion of 12 mm",
    "LAD calcium score 112",
    "Thorax PA and lateral",
    "Schmorl nodes at L2 and L3",
    "Hounsfield units between 20 and 40",
    "Chiari I malformation",
    "Supine, arms raised, breath hold",
    "SUV max 4.2 in the mediastinum",
    "Doppler of the carotid arteries",
)

_MIXED = (
    ("{name} seen for lung nodule", "lung nodule", "name"),
    ("Follow-up of fracture, MRN {patient_id}", "fracture", "patient_id"),
    ("Compared with {day}: effusion unchanged", "effusion unchanged", "day"),
    ("Please call {phone} about the biopsy result", "biopsy result", "phone"),
    ("From {institution}: abdominal pain", "abdominal pain", "institution"),
    ("Dr. {referring} asks for hepatic metastases", "hepatic metastases", "referring"),
    ("Accession {accession}, thyroid ultrasound", "thyroid ultrasound", "accession"),
    ("Patient lives at {street}; knee pain for weeks", "knee pain", "street"),
    ("Contact {email}; contrast allergy", "contrast allergy", "email"),
    ("SSN {insurance} verified, renal stones", "renal stones", "insurance"),
    ("Born {birth}, scoliosis", "scoliosis", "birth"),
    ("{name} ({patient_id}), pneumothorax", "pneumothorax", "name patient_id"),
)


@dataclass(frozen=True)
class Sentence:
    """A text, what in it has to go, and what has to stay.

    Attributes:
        secrets: (kind, words).
    """

    text: str
    secrets: tuple[tuple[str, str], ...] = ()
    clean: str = ""


def make_clean(random: Random) -> Sentence:
    """Return a text without identifiers."""
    text = random.choice(CLEAN)
    return Sentence(text, clean=text)


def make_mixed(random: Random, subject: Subject) -> Sentence:
    """Return a text with one or two identifiers of a subject in it."""
    template, clean, kinds = random.choice(_MIXED)
    values = {
        "name": subject.name.spell(random),
        "referring": subject.referring.family,
        "patient_id": subject.patient_id,
        "day": spell_date(subject.study_day, random),
        "birth": spell_date(subject.birth, random),
        "phone": subject.phone,
        "institution": subject.institution,
        "accession": subject.accession,
        "street": subject.street,
        "email": subject.email,
        "insurance": subject.insurance,
    }
    secrets = tuple((kind, values[kind]) for kind in kinds.split())
    return Sentence(template.format(**values), secrets, clean)
