"""What is counted, for Prometheus. Label values come from the closed sets below, never from a request."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

REGISTRY = CollectorRegistry()

REQUESTS = Counter("kbs_requests", "Requests answered, by route and HTTP status.", ("route", "status"),
                   registry=REGISTRY)
SECONDS = Histogram("kbs_request_seconds", "Time to work out an answer.", ("route",),
                    buckets=_BUCKETS, registry=REGISTRY)
ATTESTATIONS = Counter("kbs_attestations", "Evidence judged, by TEE and outcome.", ("tee", "outcome"),
                       registry=REGISTRY)
RELEASES = Counter("kbs_releases", "Requests for secrets, by plugin and outcome.", ("plugin", "outcome"),
                   registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition() -> bytes:
    """All metrics as text; of every worker when ``PROMETHEUS_MULTIPROC_DIR`` says where they share them."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    everybody = CollectorRegistry()
    MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
    return generate_latest(everybody)
