"""Bytes and what is read from them: packs, instances, headers, frames, the catalog, search.

    source → cut, lexer, header → facts (segments, digests, DICOM JSON, frame table)
    Intake → packs (bytes) and tables (locations, instances, derived data)
    catalog rows → search (query, visible rows) → page

Nothing here knows of commits, HTTP or DIMSE.
"""
