"""STOW-RS: store instances (PS3.18 §10.5)."""
