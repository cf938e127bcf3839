"""Lamella: a DICOMweb-first imaging archive in which every view is pinned to a commit."""

__version__ = "0.1.0"
