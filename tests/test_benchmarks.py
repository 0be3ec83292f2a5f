"""Every benchmark runs, at a size that takes a moment; what it measures then is not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore
from artifactfs.records import Record, decode
from benchmarks import filling, page, results
from benchmarks.bench import Bench, Results
from benchmarks.cases import CASES
from benchmarks.harness import SIZES, Comparison, Fact, Side, Size, Times, measure
from benchmarks.services import SCOPE
from benchmarks.targets import TARGETS, Difference, Exact, Found, Ratio, Target


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(SIZES["tiny"]) as made:
        yield made


# Several seconds each; what they do over S3 others do in a folder, with the same services.
LONG = {"scaling", "versions-s3", "streams-s3", "ranges", "columns"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] if name in LONG else []) for name in CASES]
)
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


def test_sides_run_in_turns_and_each_round_begins_with_another() -> None:
    ran: list[str] = []

    def side(name: str) -> Side:
        return Side(name, "floor", lambda _: ran.append(name), calls=1)

    measure([side("a"), side("b"), side("c")], Size("full", 3, 1.0))
    assert "".join(ran) == "abcbcacab"


def test_a_ratio_is_the_median_of_the_ratios_of_rounds() -> None:
    # Each side was slow in a round of its own, which its median over all rounds would not show.
    times = [Times("artifactfs", "ours", [2.0, 20.0, 3.0]), Times("floor", "floor", [1.0, 5.0, 3.0])]
    found = Found(
        {"c": Comparison("c", "", "c", "floor", times)},
        {("c", "artifactfs", "n"): Fact("c", "c", "artifactfs", "n", 7)},
    )
    assert Ratio("c", "artifactfs", "floor").of(found) == (2.0, 1.5, 3.0)
    assert Ratio("c", "artifactfs", "floor", speed=True).of(found) == (0.5, 0.375, 0.75)
    assert Difference("c", "artifactfs", "floor", 10).of(found) == (10.0, 5.0, 80.0)
    assert Exact("c", "n").of(found) == (7, 7, 7)
    assert Ratio("c", "artifactfs", "another").of(found) is None
    both = Target("t", "", 6.0, (Ratio("c", "artifactfs", "floor"), Exact("c", "n")))
    value = both.value(found)
    assert value == (7, 7, 7) and not both.met(value)


def test_every_target_is_about_a_case_and_has_a_name_of_its_own() -> None:
    assert len({target.id for target in TARGETS}) == len(TARGETS)
    for target in TARGETS:
        for one in target.measures:
            name = one.name if isinstance(one, Exact) else one.comparison  # type: ignore[attr-defined]
            assert name.split("/")[0] in CASES, target.id


def test_the_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    sides = [Times("artifactfs", "ours", [2e-5, 3e-5]), Times("two files", "floor", [1e-5, 1e-5])]
    found = Results(
        [
            Comparison("local/save/1 KB", "save of 1 KB", "local", "two files", sides, note="Said <of> it."),
            *(Comparison(f"scaling/{x}", "by threads", "scaling/x", "two files", sides, float(x)) for x in (1, 8)),
        ],
        [Fact("local", "local", "artifactfs", "requests", 2)],
    )
    kept: dict[str, Any] = {"machine": results.machine(), "cases": {}}
    results.add(kept, "local", "tiny", 1.0, found)
    text = page.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "performance.md"
    copy.write_text(text.replace("## Targets\n", "## Targets\n\nBy hand.\n"), encoding="utf-8")
    page.write(kept, copy)
    first = copy.read_text(encoding="utf-8")
    assert "By hand." in first
    assert "| local without fsync, save of 1 KB: at most 3x of two plain writes | 2.50x (2.25 to 2.75) | met |" in first
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "performance").iterdir()}
    assert set(drawn) == {f"{name}-{ground}.svg" for name in ("local", "scaling-x") for ground in ("light", "dark")}
    page.write(kept, copy)
    assert copy.read_text(encoding="utf-8") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "performance").iterdir()} == drawn
