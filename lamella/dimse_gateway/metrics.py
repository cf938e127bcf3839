"""What the DIMSE door counts, for `/metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ASSOCIATIONS = Gauge(
    "lamella_dimse_associations",
    "Associations that there are now, by process where there are several",
    multiprocess_mode="liveall",
)
ADMISSIONS = Counter(
    "lamella_dimse_admissions", "Requests for an association, by outcome", ["outcome"]
)
REJECTIONS = Counter(
    "lamella_dimse_rejections", "Rejected requests for an association, by reason", ["reason"]
)
TLS_FAILURES = Counter("lamella_dimse_tls_failures", "TLS handshakes that failed")
STORES = Counter("lamella_dimse_stores", "C-STORE requests, by status", ["status"])
FINDS = Counter("lamella_dimse_finds", "C-FIND requests, by final status", ["status"])
RETRIEVES = Counter(
    "lamella_dimse_retrieves", "C-GET and C-MOVE requests, by final status", ["service", "status"]
)
STORE_SECONDS = Histogram(
    "lamella_dimse_store_seconds",
    "From the end of an instance's data set to its answer, in seconds",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
COMMITMENTS = Counter(
    "lamella_dimse_commitments", "Instances whose storage was to be committed to", ["outcome"]
)
REPORTS = Counter(
    "lamella_dimse_commitment_reports",
    "Reports of storage commitments that were taken, on the same association or one of our own",
    ["association"],
)
