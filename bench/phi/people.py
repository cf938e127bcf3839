"""Invented people, places and days: everything about a subject that must not get out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

_FAMILY = [
    "Abernathy",
    "Okonkwo",
    "Petrov",
    "Lindqvist",
    "Castellanos",
    "Nakagawa",
    "Fitzgerald",
    "Bouchard",
    "Vandermeer",
    "Kowalczyk",
    "Haddad",
    "Oyelaran",
    "Bergstrom",
    "Delacroix",
    "Mukherjee",
    "Thibodeaux",
    "Zielinski",
    "Achterberg",
    "Papadopoulos",
    "Yamashita",
    "Gutierrez",
    "Montague",
    "Ferreira",
    "Szymanski",
    "Holloway",
    "Ravindran",
    "Stavros",
    "Quarterman",
    "Iwasaki",
    "Donnelly",
    "Wexford",
    "Gallagher",
    "Pemberton",
    "Ostrowski",
    "Villanueva",
    "Hargreaves",
    "Tchaikovsky",
    "Underhill",
    "Blackwood",
    "Eriksson",
    "Jankowski",
    "Rutherford",
    "Sokolova",
    "Whitcombe",
    "Zapata",
    "Müller",
    "Núñez",
    "Björklund",
    "Young",
    "May",
    "Rose",
    "Brown",
    "Small",
    "Long",
    "Cross",
    "Church",
]
_FEMALE = [
    "Adelaide",
    "Beatriz",
    "Clementine",
    "Dorothea",
    "Eleanora",
    "Francisca",
    "Genevieve",
    "Henrietta",
    "Ingeborg",
    "Josephine",
    "Katarzyna",
    "Leocadia",
    "Marguerite",
    "Nanette",
    "Ophelia",
    "Philippa",
    "Rosalind",
    "Seraphina",
    "Theodora",
    "Winifred",
]
_MALE = [
    "Alistair",
    "Bartholomew",
    "Cornelius",
    "Desmond",
    "Everett",
    "Fitzwilliam",
    "Guillermo",
    "Humphrey",
    "Ignatius",
    "Jedediah",
    "Kazimierz",
    "Leopold",
    "Montgomery",
    "Nathaniel",
    "Octavio",
    "Percival",
    "Roderick",
    "Sylvester",
    "Thaddeus",
    "Zebulon",
]
_STREETS = [
    "Elmhurst",
    "Birchwood",
    "Sycamore",
    "Thornbury",
    "Larkspur",
    "Willowbrook",
    "Cedarcrest",
]
_TOWNS = (
    ("Millbrook", "OH", "44654"),
    ("Fairhaven", "MA", "02719"),
    ("Ashdale", "TX", "75001"),
    ("Kettering", "NY", "12007"),
    ("Brackenridge", "PA", "15014"),
)
_HOUSES = (
    "Saint Brigid Memorial Hospital",
    "Northgate Regional Medical Center",
    "Hawthorne Valley Clinic",
    "Eastmoor Imaging Institute",
    "Riverbend Children's Hospital",
)
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@dataclass(frozen=True)
class Person:
    """A name, and how it is written."""

    family: str
    given: str

    @property
    def dicom(self) -> str:
        """As a PN value."""
        return f"{self.family}^{self.given}".upper()

    @property
    def plain(self) -> str:
        """As a sentence has it."""
        return f"{self.given} {self.family}"

    def spell(self, random: Random) -> str:
        """Return one of the ways in which people write it."""
        return random.choice(
            [
                self.plain,
                f"{self.family}, {self.given}",
                self.dicom,
                self.plain.upper(),
                f"{self.family.upper()} {self.given}",
                f"{self.given[0]}. {self.family}",
            ]
        )


@dataclass(frozen=True)
class Subject:
    """One patient, and one visit."""

    number: int
    name: Person
    mother: Person
    patient_id: str
    other_id: str
    sex: str
    birth: date
    study_day: date
    accession: str
    street: str
    town: str
    phone: str
    email: str
    insurance: str
    institution: str
    referring: Person
    performing: Person
    operator: Person

    @property
    def age(self) -> int:
        """In years, on the day of the study."""
        return (self.study_day - self.birth).days // 365

    def list_texts(self) -> list[str]:
        """Return what must be in no output, in the form it is most often written in."""
        people = (self.name, self.mother, self.referring, self.performing, self.operator)
        names = [form for one in people for form in (one.dicom, one.plain)]
        return [
            *names,
            self.patient_id,
            self.other_id,
            self.accession,
            self.street,
            self.phone,
            self.email,
            self.insurance,
            self.institution,
            *spell_all(self.birth),
        ]


def make_subject(random: Random, number: int) -> Subject:
    """Return another person."""
    sex = random.choice("FM")
    study_day = date(2012, 1, 1) + timedelta(days=random.randrange(4000))
    years = random.choice([2, 17, 34, 45, 51, 58, 63, 67, 72, 78, 84, 93])
    name = _make_person(random, sex)
    return Subject(
        number=number,
        name=name,
        mother=_make_person(random, "F"),
        patient_id=f"{random.choice(['MRN', 'PT', 'H', ''])}{random.randrange(10**6, 10**8)}",
        other_id=f"X{random.randrange(10**7, 10**8)}",
        sex=sex,
        birth=study_day - timedelta(days=years * 365 + random.randrange(30, 330)),
        study_day=study_day,
        accession=f"ACC{random.randrange(10**7, 10**8)}",
        street=f"{random.randrange(100, 9999)} {random.choice(_STREETS)} Street",
        town=", ".join(random.choice(_TOWNS)[:2]),
        phone=f"({random.randrange(201, 989)}) 555-0{random.randrange(100, 200)}",
        email=f"{name.given}.{random.randrange(1000, 9999)}@example.org".lower(),
        insurance=f"{random.randrange(900, 999)}-{random.randrange(70, 88)}-"
        f"{random.randrange(1000, 9999)}",
        institution=random.choice(_HOUSES),
        referring=_make_person(random, random.choice("FM")),
        performing=_make_person(random, random.choice("FM")),
        operator=_make_person(random, random.choice("FM")),
    )


def spell_date(day: date, random: Random) -> str:
    """Return one of the ways in which a day is written in a text."""
    return random.choice(spell_all(day))


def spell_all(day: date) -> list[str]:
    """Return the spellings that are unambiguous enough to be searched for."""
    month = _MONTHS[day.month - 1]
    return [
        f"{day:%Y%m%d}",
        f"{day:%Y-%m-%d}",
        f"{day:%m/%d/%Y}",
        f"{day:%d.%m.%Y}",
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
    ]


def _make_person(random: Random, sex: str) -> Person:
    return Person(random.choice(_FAMILY), random.choice(_FEMALE if sex == "F" else _MALE))
