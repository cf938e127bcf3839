"""DICOM clients with one interface, whatever holds the data: a folder, a bucket, a server.

All satisfy `dicomweb_client.protocol.DICOMClient`, can be pickled, and may be used by several
threads and in forked or spawned processes, so by the workers of `torch.utils.data.DataLoader`.
What fails raises a `requests.HTTPError`; see `failures`.

`LocalClient` and `WebClient` send the same requests to the same doors, one within the process,
the other over the network; so one cannot do or answer what the other does not.
"""

from __future__ import annotations

from lamella.clients.composed import ComposedClient
from lamella.clients.failures import RequestFailed
from lamella.clients.local import LocalClient
from lamella.clients.s3 import S3Client
from lamella.clients.web import WebClient

__all__ = ["ComposedClient", "LocalClient", "RequestFailed", "S3Client", "WebClient"]
