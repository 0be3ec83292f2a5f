"""The engine of obstore for Google Cloud Storage, against our own server of both of Google's interfaces as documented."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from fsspec.asyn import get_loop, sync
from google.oauth2.credentials import Credentials

from artifactfs.backends.base import WHOLE_LIMIT, Abilities, Written
from artifactfs.backends.obstore_gcs import ObstoreGCSBackend
from artifactfs.errors import AccessDenied, BackendError, BackendUnavailable
from artifactfs.testing.backend import CUT_OFF, BackendConformance

from . import gcs_xml_as_documented as documented
from .gcs_as_documented import Drop, Nonsense, Status
from .gcs_xml_as_documented import GoogleXML

T = TypeVar("T")
TEXT = "text/plain"
TOKEN = "a-token-of-the-test"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    result: T = sync(get_loop(), lambda: coroutine)
    return result


def a_backend(google: GoogleXML, url: str | None = None, **settings: Any) -> ObstoreGCSBackend:
    options = {"endpoint_url": google.url, "token": Credentials(TOKEN), **settings.pop("options", {})}  # type: ignore[no-untyped-call]
    return ObstoreGCSBackend(url or google.bucket(), options=options, **settings)


def there(google: GoogleXML, backend: ObstoreGCSBackend, key: str) -> bytes | None:
    """What is stored, looked at behind the backend."""
    bucket, _, prefix = backend.url.removeprefix("gs://").partition("/")
    found = google.buckets[bucket].get(f"{prefix}/{key}")
    return None if found is None else found.data


@pytest.fixture(scope="module")
def _google() -> Iterator[GoogleXML]:
    with documented.start() as running:
        yield running


@pytest.fixture
def google(_google: GoogleXML) -> Iterator[GoogleXML]:
    _google.token = TOKEN
    yield _google
    _google.faults, _google.every = [], None
    _google.precondition = _google.xml_precondition = "atomic"


@pytest.fixture
def backend(google: GoogleXML) -> Iterator[ObstoreGCSBackend]:
    made = a_backend(google)
    yield made
    run(made.close())


class TestAsDocumented(BackendConformance):
    lists_unfinished = False
    many = 1200
    racers = 16

    @pytest.fixture
    def backend(self, backend: ObstoreGCSBackend) -> ObstoreGCSBackend:
        return backend

    @pytest.fixture
    def another(self, google: GoogleXML, backend: ObstoreGCSBackend) -> Iterator[ObstoreGCSBackend]:
        made = a_backend(google, backend.url)
        yield made
        run(made.close())
