"""Static exports: a commit as a tree of files that any web server gives to DICOMweb clients.

    exporter      follows the tree of a commit: studies, series, instances, each by its ledger
    instances     what is written of one instance
    documents     lists and metadata: DICOM JSON
    catalog       what `lamella.clients.S3Client` reads it by
    ledger        what of a folder is surely there, so that the next run does only the rest
    doors         asks the DICOMweb doors in this process for frames, bulk data and pictures
    destination   where it goes: a folder, or (bucket) S3

The layout is told in `docs/static.md`, for those who read it by other means than HTTP.
"""
