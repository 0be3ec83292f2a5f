"""The shipped suites on the store that ``--artifactfs-url`` names: what pytest collects where no path is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from artifactfs.backends.base import SUSPENDING, Abilities, Backend
from artifactfs.store import ArtifactStore
from artifactfs.testing import own_run
from artifactfs.testing.backend import BackendConformance
from artifactfs.testing.machine import StoreMachine
from artifactfs.testing.own_run import OwnRun
from artifactfs.testing.store import StoreConformance


@pytest.fixture(scope="session")
def own(request: pytest.FixtureRequest) -> OwnRun:
    return own_run.of(request.config)


@pytest.fixture(scope="session")
def clients(artifactfs_open: Callable[[str], ArtifactStore]) -> tuple[Backend, Backend]:
    return artifactfs_open("backend").backend, artifactfs_open("backend").backend


class TestBackend(BackendConformance):
    """Two clients of one folder."""

    @pytest.fixture
    def backend(self, clients: tuple[Backend, Backend], own: OwnRun) -> Backend:
        self.single_writer = own.single_writer
        self.atomic_complete = own.found.complete == "atomic"
        self.lists_unfinished = own.found.lists_unfinished
        self.many = 1100 if clients[0].placement in SUSPENDING else 300  # a page of a server holds a thousand
        return clients[0]

    @pytest.fixture
    def another(self, clients: tuple[Backend, Backend], backend: Backend) -> Backend:
        return clients[1]


class TestStore(StoreConformance):
    @pytest.fixture
    def store(self, artifactfs_store: ArtifactStore, own: OwnRun) -> ArtifactStore:
        self.longest_segment = own.found.longest_segment
        return artifactfs_store

    def test_a_probe_says_whether_creates_are_atomic(self, store: ArtifactStore) -> None:
        """Whatever it is: a store for one writer may be any."""
        assert store.probe().create in ("atomic", "racy", "ignored", "refused")


def test_any_order_of_calls_agrees_with_a_model(own: OwnRun) -> None:
    class Machine(StoreMachine):
        def open(self) -> ArtifactStore:
            store = own.open(f"machine/{self.where}")
            create, complete, rewrite = own.found[:3]
            store._core.abilities = Abilities(create, complete, rewrite)  # type: ignore[arg-type]  # spares each a probe
            return store

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
