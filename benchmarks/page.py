"""The generated parts of docs/performance.md: what lies between ``<!-- generated: NAME -->`` and ``<!-- end -->`` there.

All else on the page is written by hand, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import plots
from .cases import CASES
from .harness import Comparison, Fact, comparison, spread
from .targets import TARGETS, Found, Target, Value

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Kept = dict[str, Any]
"""`results.read`."""


def write(kept: Kept, page: Path = PAGE) -> None:
    """Write the generated parts of *page* again, and the figures beside it."""
    figures = page.with_suffix("")
    if figures.is_dir():
        for old in figures.glob("*.svg"):
            old.unlink()
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "machine": lambda: machine(kept),
        "targets": lambda: targets(kept),
        "measurements": lambda: measurements(kept, figures),
    }

    def part(found: re.Match[str]) -> str:
        return found[1] + "\n" + "\n".join(parts[found[2]]()).strip() + "\n\n" + found[3]

    page.write_text(_PART.sub(part, page.read_text(encoding="utf-8")), encoding="utf-8")


# --- numbers as people read them --------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three digits of it."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def seconds(value: float) -> str:
    """With the unit that fits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{number(float(f'{value / scale:.3g}'))} {unit}"
    return f"{number(value / 1e-9)} ns"


def measured(value: Value, unit: str) -> str:
    """A median, and its quartiles where there are several values."""
    middle, low, high = value
    gap = "" if unit == "x" else " "
    quartiles = "" if low == high else f" ({number(low)} to {number(high)})"
    return f"{number(middle)}{gap}{unit}{quartiles}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


# --- the parts --------------------------------------------------------------------------------------------------------


def found(kept: Kept) -> Found:
    """All that a run measured."""
    comparisons = [comparison(one) for case in kept["cases"].values() for one in case["comparisons"]]
    facts = [Fact(**one) for case in kept["cases"].values() for one in case["facts"]]
    return Found({one.name: one for one in comparisons}, {(one.name, one.side, one.what): one for one in facts})


def machine(kept: Kept) -> Iterator[str]:
    """On what, when, and how much."""
    here = kept["machine"]
    runs = list(kept["cases"].values())
    sizes = sorted({run["size"] for run in runs})
    dates = sorted(run["date"] for run in runs)
    rounds = sorted({len(side["seconds"]) for run in runs for one in run["comparisons"] for side in one["sides"]})
    minutes = sum(run["seconds"] for run in runs) / 60
    yield f"Measured {dates[0][:10]} by `{runs[-1]['command']}` (size {' and '.join(sizes)},"
    yield f"{rounds[0]} to {rounds[-1]} rounds, {minutes:.0f} minutes) on {here['cores']} cores of"
    yield f"{here['processor']}, {here['memory_gb']} GB of memory, {here['system']}, Python {here['python']}."
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in here["versions"].items()) + "."
    left_out = [why for run in runs for why in run["left_out"]]
    for why in dict.fromkeys(left_out):
        yield ""
        yield f"Left out: {why}."


def verdict(target: Target, value: Value | None) -> str:
    if value is None:
        return "not measured"
    if target.met(value):
        return "met"
    return f"**not met**: {target.reason or 'no reason known yet'}"


def targets(kept: Kept) -> Iterator[str]:
    """Every target, met or not."""
    all_of_it = found(kept)
    values = {target.id: target.value(all_of_it) for target in TARGETS}
    known = [target for target in TARGETS if values[target.id] is not None]
    met = sum(target.met(value) for target in known if (value := values[target.id]))
    yield f"{met} of {len(TARGETS)} are met."
    yield ""
    rows = []
    for target in TARGETS:
        value = values[target.id]
        rows.append([target.text, "" if value is None else measured(value, target.unit), verdict(target, value)])
    yield from table(["target", "measured: median (quartiles)", ""], rows)


def measurements(kept: Kept, figures: Path) -> Iterator[str]:
    """A section for each case, a figure and a table for each group in it."""
    for name, case in CASES.items():
        if name not in kept["cases"]:
            continue
        run = kept["cases"][name]
        yield f"### {case.title}"
        yield ""
        groups: dict[str, list[Comparison]] = {}
        for one in run["comparisons"]:
            groups.setdefault(one["group"], []).append(comparison(one))
        for group, comparisons in groups.items():
            yield from _group(group, comparisons, figures)
        facts = [Fact(**one) for one in run["facts"]]
        if facts:
            yield from _facts(facts)


def _group(group: str, comparisons: Sequence[Comparison], figures: Path) -> Iterator[str]:
    drawn = f"{figures.name}/{plots.draw(group, comparisons, figures)}"
    yield "<picture>"
    yield f'<source media="(prefers-color-scheme: dark)" srcset="{drawn}-dark.svg">'
    yield f'<img alt="{group}: time of each side, as a multiple of the base" src="{drawn}-light.svg">'
    yield "</picture>"
    yield ""
    for note in dict.fromkeys(one.note for one in comparisons if one.note):
        yield note
        yield ""
    titles: dict[str, list[Comparison]] = {}
    curve = comparisons[0].x is not None
    for one in comparisons:
        titles.setdefault(one.title if curve else "", []).append(one)
    for title, shown in titles.items():
        sides = list(dict.fromkeys(side.name for one in shown for side in one.sides))
        head = [f"{title}, at" if curve else "", *(f"{one.x:,.0f}" if curve else one.title for one in shown)]
        yield from table(head, [[side, *(_cell(one, side) for one in shown)] for side in sides])


def _cell(one: Comparison, name: str) -> str:
    """Seconds per call, and the ratio to the base with its quartiles."""
    side = one.side(name)
    if side is None:
        return ""
    taken = seconds(spread(side.seconds)[0])
    if name == one.base:
        return f"{taken}, 1x"
    ratio = one.ratio(name, one.base)
    assert ratio is not None
    return f"{taken}, {measured(ratio, 'x')}"


def _facts(facts: Sequence[Fact]) -> Iterator[str]:
    sides = list(dict.fromkeys(one.side for one in facts))
    values = {(one.name, one.what, one.side): f"{number(one.value)} {one.unit}".strip() for one in facts}
    rows = list(dict.fromkeys((one.name, one.what) for one in facts))
    yield from table(
        ["", "", *sides], [[name, what, *(values.get((name, what, side), "") for side in sides)] for name, what in rows]
    )
