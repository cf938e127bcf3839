"""Packs as objects of an S3 bucket.

    place         which bucket, under which prefix, at which endpoint
    credentials   the usual AWS chain, for both clients
    descriptions  what botocore knows of AWS, cut down to what is needed
    patience      how often, how long and with what pauses S3 is asked again
    writer        whole packs in, by aioboto3: one PUT, or parts; deletes, listings, the bucket
    ranges        ranges of packs out, by obstore, in the calling thread
    chunk_cache   what was read, in files of the data folder that all its processes share
    cached_reader ranges out of both, fetched in large pieces, each piece once
    store         the `PackStore` that puts these together

Two clients, for a reason with figures: see `docs/design/accepted/0007-s3-clients.md`.
"""

import sys

# aioboto3 imports httpx, and that its command line, with what draws on terminals: 5 MB in each
# process, which nobody uses. httpx does without it, as where that was not installed.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
