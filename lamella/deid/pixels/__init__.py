"""Pixels without text that tells who the patient is."""
