"""Packs: the only physical objects. A pack has a random name that is never used again.

`store.PackStore` is the protocol; `local`, `memory` and `s3` are backends; every backend passes
the one contract suite in `tests/contract/`. Packs reach a store as finished spool files, so that
nothing half-written ever has a pack's name.
"""
