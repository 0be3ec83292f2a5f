"""fsspec's own suite for filesystems: copy, get, put, pipe and open, with every combination of slashes and globs."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable

import fsspec.tests.abstract as abstract
import pytest

from artifactfs.filesystem import ArtifactFileSystem

_fresh = itertools.count()


class _Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self) -> ArtifactFileSystem:
        return ArtifactFileSystem(f"memory://conformance-{next(_fresh)}", skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self) -> str:
        return "shop/alice/s1"

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
