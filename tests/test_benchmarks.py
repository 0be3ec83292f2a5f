"""Every benchmark runs, at a size that takes a moment; what it measures then is not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs import ArtifactStore
from artifactfs.records import Record, decode
from benchmarks import filling
from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.harness import SIZES
from benchmarks.services import SCOPE


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(SIZES["tiny"]) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_a_case_runs_and_finds_something(bench: Bench, name: str) -> None:
    CASES[name].run(bench)
    found = bench.take()
    assert found.comparisons or found.facts or found.left_out
    for comparison in found.comparisons:
        assert comparison.group.split("/")[0] == name or comparison.group == name
        assert comparison.side(comparison.base), f"{comparison.name} has no side {comparison.base}"
        assert all(seconds > 0 for side in comparison.sides for seconds in side.seconds)


@pytest.mark.parametrize("count", [1, 49, 51, 260])
def test_a_store_that_is_filled_is_what_saves_leave(tmp_path: Path, count: int) -> None:
    filling.fill_folder(f"{tmp_path}/filled", filling.versions(count))
    scope = ArtifactStore(tmp_path / "saved", durability="none").scope(*SCOPE)
    for _ in range(count):
        scope.save(filling.NAME, filling.PAYLOAD)
    assert _kept(tmp_path / "filled") == _kept(tmp_path / "saved")


def test_a_session_that_is_filled_is_what_saves_leave(tmp_path: Path) -> None:
    filling.fill_folder(f"{tmp_path}/filled", filling.names(3))
    scope = ArtifactStore(tmp_path / "saved", durability="none").scope(*SCOPE)
    for number in range(3):
        scope.save(f"report-{number:06}.csv", filling.PAYLOAD)
    assert _kept(tmp_path / "filled") == _kept(tmp_path / "saved")


def _kept(root: Path) -> dict[str, object]:
    """All objects below a folder; of records what does not tell when and by which save they were written."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        if path.is_file() and path.name[0] != ".":
            data: bytes | tuple[object, ...] = path.read_bytes()
            if path.suffix == ".metadata":
                data = _told(decode(path.read_bytes()))
            found[str(path.relative_to(root))] = data
    return found


def _told(record: Record) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in record.__struct_fields__ if name not in ("timestamp", "write_id"))
