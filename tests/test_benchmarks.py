"""Every benchmark runs, at a size that takes a moment; what it measures then is not looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.harness import SIZES


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
