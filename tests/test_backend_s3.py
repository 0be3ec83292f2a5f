"""The S3 backend keeps every promise of a backend on real servers, and what is S3's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from artifactfs.backends.s3 import S3Backend
from artifactfs.testing.backend import BINARY, BackendConformance, _run

from .servers import Server


@pytest.fixture(scope="module")
def clients() -> Iterator[Callable[[Server], tuple[S3Backend, S3Backend]]]:
    """Two clients of one bucket of a server, the same for all tests here."""
    made: dict[str, tuple[S3Backend, S3Backend]] = {}

    def of(server: Server) -> tuple[S3Backend, S3Backend]:
        if server.url not in made:
            url = server.bucket("some/prefix")
            made[server.url] = (opened(server, url), opened(server, url))
        return made[server.url]

    yield of
    for client in itertools.chain(*made.values()):
        _run(client, client.close())


def opened(server: Server, url: str, **arguments: Any) -> S3Backend:
    return S3Backend(url, options=server.storage_options, **arguments)


class OnServer(BackendConformance):
    """The conformance suite on two clients of one bucket; a subclass names the server."""

    server_name = ""

    @pytest.fixture
    def pair(self, request: pytest.FixtureRequest, clients: Any) -> tuple[S3Backend, S3Backend]:
        pair: tuple[S3Backend, S3Backend] = clients(request.getfixturevalue(self.server_name))
        return pair

    @pytest.fixture
    def backend(self, pair: tuple[S3Backend, S3Backend]) -> S3Backend:
        return pair[0]

    @pytest.fixture
    def another(self, pair: tuple[S3Backend, S3Backend]) -> S3Backend:
        return pair[1]


class TestMoto(OnServer):
    server_name = "moto"


class TestMinistack(OnServer):
    server_name = "ministack"


@pytest.mark.server("ceph")
class TestCeph(OnServer):
    server_name = "ceph"
    atomic_complete = False


@pytest.mark.server("minio")
class TestMinio(OnServer):
    server_name = "minio"
