"""The backend for Google Cloud Storage, against fake-gcs-server and against a server that can break its connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from artifactfs.backends.gcs import GCSBackend
from artifactfs.testing.backend import BackendConformance

from .servers import Server


@pytest.mark.server("fake_gcs")
class TestGCS(BackendConformance):
    lists_unfinished = False

    @pytest.fixture
    def backend(self, fake_gcs: Server) -> Iterator[GCSBackend]:
        yield GCSBackend(fake_gcs.bucket(), options=fake_gcs.storage_options)
