"""What a service counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class Telemetry:
    """The metrics of one service, in a registry of its own. Labels are names of routes, never keys or people."""

    def __init__(self, version: str, model: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"reidkit_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Any:
            return Histogram(f"reidkit_{name}", text, labels, registry=registry, buckets=buckets)

        info = Gauge("reidkit_build_info", "Always 1.", ("version", "model"), registry=registry)
        info.labels(version, model).set(1)
        self.requests = counter("http_requests", "Requests that were answered.", "method", "route", "status")
        self.duration = histogram("http_request_duration_seconds", "From the first byte to the answer.", "route")
        self.rejected = counter("rejected", "Requests that were refused.", "reason")
        self.queue_wait = histogram("queue_wait_seconds", "The longest wait of an image in each batch.")
        self.inference = histogram("inference_seconds", "Seconds of each batch in the network.")
        self.batch = histogram("batch_images", "Images of each batch.", buckets=COUNTS)
        self.images = counter("images", "Pictures that were sent.", "result")
        self.search = histogram("search_seconds", "Seconds of a search in the gallery.", "stage")
        self.candidates = histogram("search_candidates", "Rows that were compared in full precision.", buckets=COUNTS)
        self.changes = counter("gallery_changes", "Rows of the gallery that were changed.", "kind")
        self.audit_failures = counter("audit_failures", "Entries that could not be written to the audit log.")
        self._gauge = Gauge

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Have a number read whenever the metrics are."""
        self._gauge(f"reidkit_{name}", text, registry=self.registry).set_function(value)

    def refused(self, problem: str) -> None:
        """Count a request that was refused, by the name of its problem."""
        if reason := REASONS.get(problem):
            self.rejected.labels(reason).inc()

    def batched(self, images: int, seconds: float, waited: float) -> None:
        """Count a batch that was run through the network."""
        self.batch.observe(images)
        self.inference.observe(seconds)
        self.queue_wait.observe(waited)

    def text(self) -> tuple[bytes, str]:
        """Return the metrics, and their media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST


REASONS = {
    "overloaded": "overloaded",
    "too-large": "bytes",
    "too-many-pixels": "pixels",
    "unsupported-type": "type",
    "token-required": "token",
    "token-wrong": "token",
    "role-missing": "token",
    "too-many-attempts": "token",
    "foreign-origin": "origin",
    "foreign-host": "origin",
}
"""What refused requests are counted as, by their problem."""
