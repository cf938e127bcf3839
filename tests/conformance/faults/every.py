"""All faulty servers, by name."""

from . import exchanges, renderings, retrievals, searches, stores
from .making import FAULTS

MODULES = (searches, retrievals, renderings, stores, exchanges)

__all__ = ["FAULTS", "MODULES"]
