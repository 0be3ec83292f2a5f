"""fsspec's own suite for filesystems, all 137 of it, over memory, local disk and S3 by either engine."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable
from typing import Any

import fsspec.tests.abstract as abstract
import pytest

from artifactfs.filesystem import ArtifactFileSystem

from .servers import Server

_fresh = itertools.count()


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        "local",
        pytest.param("minio", marks=pytest.mark.server("minio")),
        pytest.param("moto", marks=[pytest.mark.server("moto"), pytest.mark.nightly]),
    ],
)
def shared_fs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ArtifactFileSystem:
    options: dict[str, Any] = {}
    if request.param == "memory":
        root = f"memory://conformance-{next(_fresh)}"
    elif request.param == "local":
        root, options = str(tmp_path_factory.mktemp("store")), {"durability": "none"}
    else:
        server: Server = request.getfixturevalue(request.param)
        engine = "obstore" if request.param == "minio" else "s3fs"
        root, options = server.bucket(), {**server.storage_options, "engine": engine}
    return ArtifactFileSystem(root, skip_instance_cache=True, **options)


class _Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self, shared_fs: ArtifactFileSystem) -> ArtifactFileSystem:
        return shared_fs

    @pytest.fixture
    def fs_path(self) -> str:
        """Each test has a session of its own."""
        return f"shop/alice/s{next(_fresh)}"

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return posixpath.join

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopy(abstract.AbstractCopyTests, _Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, _Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, _Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, _Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, _Fixtures):  # type: ignore[misc]
    pass
