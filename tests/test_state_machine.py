"""A store in memory and on a disk agrees with a model of a few lines, whatever is called in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from artifactfs import ArtifactStore
from artifactfs.backends.base import Written
from artifactfs.backends.memory import MemoryBackend
from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Delete, Steps
from artifactfs.testing.counting import store_over
from artifactfs.testing.machine import StoreMachine


class LocalMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="afs-machine-")

    def open(self) -> ArtifactStore:
        return ArtifactStore(self.folder, durability="none")

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class SmallPages(StoreMachine):
    """Twenty entries a page, so that a few versions need several."""

    def open(self) -> ArtifactStore:
        return store_over(MemoryBackend(f"memory://{self.where}", page_size=20), ArtifactStore)


TestMemory = StoreMachine.TestCase
TestSmallPages = SmallPages.TestCase
TestLocal = LocalMachine.TestCase

for _case in (TestMemory, TestSmallPages, TestLocal):
    _case.settings = settings(max_examples=max(30, settings().max_examples // 5))


# controls: planted faults that the machine must catch


def _is_caught(machine: type[StoreMachine] = StoreMachine) -> None:
    seen = settings(derandomize=True, database=None, max_examples=300, phases=[Phase.generate], deadline=None)
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever the machine meets first
        run_state_machine_as_test(machine, settings=seen)


def _forgets_the_number(env: Any, artifact: ArtifactId, number: int, got: Any, reason: str) -> Steps[object]:
    yield (Delete((artifact.record(number),)),)
    return True


def _does_nothing(*_: object) -> Steps[None]:
    return
    yield


def _says_yes(*_: object) -> Steps[bool]:
    return True
    yield


def _takes_all(artifact: ArtifactId, number: int, _: int) -> tuple[str, ...]:
    return artifact.payload(number), artifact.record(number)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("artifactfs.protocol.delete.bury", _forgets_the_number),
        ("artifactfs.protocol.save.mark_hidden", _does_nothing),
        ("artifactfs.protocol.delete.mark_hidden", _does_nothing),
        ("artifactfs.protocol.names.is_visible", _says_yes),
        ("artifactfs.protocol.expect.still_there", _says_yes),
        ("artifactfs.protocol.compact.leftovers", _takes_all),
    ],
    ids=[
        "a number is given again after a delete",
        "a removed name is shown",
        "a deleted name is shown",
        "a mark is not heeded",
        "compare-and-set follows what is gone",
        "compact takes the newest number's record",
    ],
)
def test_the_machine_sees(place: str, fault: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, fault)
    _is_caught()


class Torn(MemoryBackend):
    """Loses the last byte of an object now and then."""

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        return await super().create(key, data[:-1] if data == b"some more" else data, content_type)


class TornMachine(StoreMachine):
    def open(self) -> ArtifactStore:
        return store_over(Torn(f"memory://{self.where}"), ArtifactStore)


def test_the_machine_sees_a_torn_write() -> None:
    _is_caught(TornMachine)
