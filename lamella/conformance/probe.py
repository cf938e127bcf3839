"""What a check has in its hands: the server, the samples, and ways to ask.

A GET that several checks look at is sent once: the answer is remembered until something is
stored or deleted. Each check sees the exchanges it looked at in `trail`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from lamella.conformance.client import Client
from lamella.conformance.exchange import Reply, Request
from lamella.conformance.expect import DICOM_JSON, DataSet, read_results, value
from lamella.conformance.multipart import Part, Writing, join_parts
from lamella.conformance.outcomes import NotRun
from lamella.conformance.samples import Sample, SampleSet

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
_BARE = "application/dicom+json"


@dataclass(frozen=True)
class Specimen:
    """An instance with pixels that checks read: a sample, or one that was there.

    Attributes:
        attributes: What its metadata show, as DICOM JSON; empty for a sample.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    attributes: DataSet = field(default_factory=dict, repr=False)

    @property
    def study_path(self) -> str:
        """Path of the study's resource."""
        return f"/studies/{self.study_uid}"

    @property
    def series_path(self) -> str:
        """Path of the series's resource."""
        return f"{self.study_path}/series/{self.series_uid}"

    @property
    def path(self) -> str:
        """Path of the instance's resource."""
        return f"{self.series_path}/instances/{self.sop_uid}"


class Probe:
    """One server under examination.

    Args:
        root: URL of the DICOMweb root, as `http://host/dicom-web`.
        client: Sends requests.
        run: The samples; None in a read-only run.
        uri_service: URL of the URI service (WADO-URI); `{root}/wado` when None.

    Attributes:
        trail: Exchanges that the current check looked at.
        stored: Names of the samples that the server took.
        studies: Study UIDs this run stored anything under; they are deleted at its end.
        specimen: None if there is nothing to look at.
    """

    def __init__(
        self, root: str, client: Client, run: SampleSet | None, uri_service: str | None = None
    ) -> None:
        self.root = root.rstrip("/")
        self.uri_service = uri_service or f"{self.root}/wado"
        self.client = client
        self.run = run
        self.trail: list[Reply] = []
        self.stored: set[str] = set()
        self.studies: dict[str, None] = {}
        self.found_specimen: Specimen | None = None
        self._memory: dict[tuple[str, tuple[tuple[str, str], ...]], Reply] = {}

    @property
    def is_read_only(self) -> bool:
        """Whether nothing may be stored."""
        return self.run is None

    @property
    def samples(self) -> SampleSet:
        """The samples; ends the check if this run has none."""
        if self.run is None:
            raise NotRun("It needs samples of its own, and this run is read-only.")
        return self.run

    @property
    def specimen(self) -> Specimen:
        """An instance with pixels to look at; ends the check if there is none."""
        if self.found_specimen is None:
            raise NotRun("There is no instance with pixels to look at.")
        return self.found_specimen

    def sample(self, name: str) -> Sample:
        """Return a sample that the server has; ends the check if it has it not."""
        sample = self.samples[name]
        if name not in self.stored:
            raise NotRun(f"The server did not take the sample {name}.")
        return sample

    def url(self, path: str, query: str = "") -> str:
        """Return the URL of a resource; a URL, absolute or not, is resolved against the root."""
        if urlsplit(path).scheme:
            base = path
        elif path.startswith("/") or not path:
            base = self.root + path
        else:
            base = urljoin(f"{self.root}/", path)
        return f"{base}?{query}" if query else base

    def get(
        self,
        path: str,
        query: str = "",
        accept: str | None = _BARE,
        headers: Mapping[str, str] | None = None,
        *,
        fresh: bool = False,
    ) -> Reply:
        """Send a GET, or return the answer to the same one from earlier in the run.

        Args:
            path: Under the root, or a URL.
            query: Of the URL, percent-encoded.
            accept: The Accept header field; None sends none.
            headers: More header fields.
            fresh: Ask again, whatever was answered before.

        Raises:
            ServerUnreachable: No answer came.
        """
        fields = {**({"Accept": accept} if accept is not None else {}), **(headers or {})}
        request = Request("GET", self.url(path, query), tuple(fields.items()))
        key = (request.url, request.headers)
        reply = None if fresh else self._memory.get(key)
        if reply is None:
            reply = self.client.send(request)
            self._memory[key] = reply
        self.trail.append(reply)
        return reply

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        chunked: bool = False,
    ) -> Reply:
        """Send a request of any kind; it may change what the server holds.

        Raises:
            ServerUnreachable: No answer came.
        """
        fields = tuple((headers or {}).items())
        request = Request(method, self.url(path, query), fields, body, chunked)
        reply = self.client.send(request)
        if method in ("POST", "PUT", "DELETE"):
            self._memory.clear()
        self.trail.append(reply)
        return reply

    def search(self, path: str, query: str = "") -> list[DataSet]:
        """Return what a search found; fails the check if the answer is none."""
        return read_results(self.get(path, query))

    def find(self, path: str, query: str) -> set[str]:
        """Return the names of the run's studies that a search at any level found.

        What is not of this run is `other`.
        """
        names = {uid: name for name, uid in self.samples.study_uids.items()}
        found = self.search(path, query)
        return {names.get(value(data_set, STUDY_UID), "other") for data_set in found}

    def store(
        self,
        parts: Iterable[Part],
        study_uids: Iterable[str],
        *,
        path: str = "/studies",
        root_type: str = "application/dicom",
        writing: Writing | None = None,
        chunked: bool = False,
        accept: str = DICOM_JSON,
    ) -> Reply:
        """Send a STOW-RS request.

        Args:
            parts: Of its body.
            study_uids: The studies it may make, to be taken away at the end.
            path: Its target.
            root_type: The `type` parameter of its Content-Type.
            writing: How the body is written.
            chunked: Whether it goes out without a length.
            accept: The Accept header field.
        """
        content_type, body = join_parts(list(parts), root_type, writing)
        headers = {"Content-Type": content_type, "Accept": accept}
        return self.post(path, headers, body, study_uids, chunked=chunked)

    def post(
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        study_uids: Iterable[str],
        *,
        chunked: bool = False,
    ) -> Reply:
        """Send a POST that may make studies, which are taken away at the end."""
        if self.is_read_only:
            raise NotRun("It stores, and this run is read-only.")
        self.studies.update(dict.fromkeys(study_uids))
        return self.send("POST", path, headers=headers, body=body, chunked=chunked)
