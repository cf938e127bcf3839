"""WADO-RS: retrieve instances, metadata, frames and bulk data (PS3.18 §10.4)."""
