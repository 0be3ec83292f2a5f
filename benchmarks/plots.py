"""The figures of docs/performance.md: how many times as long as the base of a comparison each side takes.

Every figure is drawn twice, for pages with a light and with a dark ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .harness import Comparison, Times, ratios, spread
from .targets import TARGETS, Difference, Ratio, Target

Ground = Literal["light", "dark"]
GROUNDS: tuple[Ground, ...] = ("light", "dark")

_INK = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#f0f6fc", "#3d444d")}
"""Of each ground the colour of text, and that of lines behind the data."""
_COLOURS = {
    "light": {"ours": ("#0969da", "#54aeff", "#8250df", "#0a3069"), "floor": ("#57606a", "#8c959f", "#afb8c1")},
    "dark": {"ours": ("#58a6ff", "#a5d6ff", "#bc8cff", "#388bfd"), "floor": ("#b1bac4", "#8b949e", "#6e7681")},
}
_PEERS = {
    "light": ("#bc4c00", "#bf8700", "#1a7f37", "#a40e26", "#6f5500"),
    "dark": ("#f0883e", "#e3b341", "#3fb950", "#ff7b72", "#c9a26d"),
}
_TARGET = {"light": "#cf222e", "dark": "#ff7b72"}
_SHAPES = {"ours": "o", "floor": "s", "peer": "D"}


def draw(group: str, comparisons: Sequence[Comparison], folder: Path) -> str:
    """Draw a group of comparisons in *folder*; the figure's name, without the ground and the ending."""
    name = "".join(letter if letter.isalnum() else "-" for letter in group.lower()).replace("--", "-")
    folder.mkdir(parents=True, exist_ok=True)
    for ground in GROUNDS:
        text, line = _INK[ground]
        settings = {
            "svg.hashsalt": "artifactfs",
            "font.size": 9,
            "font.family": "sans-serif",
            "text.color": text,
            "axes.labelcolor": text,
            "axes.edgecolor": line,
            "xtick.color": text,
            "ytick.color": text,
            "grid.color": line,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
        }
        with plt.rc_context(settings):
            figure = _curve(comparisons, ground) if comparisons[0].x is not None else _panels(comparisons, ground)
            figure.savefig(
                folder / f"{name}-{ground}.svg", transparent=True, metadata={"Date": None}, bbox_inches="tight"
            )
            plt.close(figure)
    return name


def _colours(sides: Sequence[Times], ground: Ground) -> dict[str, str]:
    """The colour of each side, by its role."""
    palettes = {**_COLOURS[ground], "peer": _PEERS[ground]}
    count = dict.fromkeys(palettes, 0)
    found: dict[str, str] = {}
    for side in sides:
        if side.name not in found:
            palette = palettes[side.role]
            found[side.name] = palette[count[side.role] % len(palette)]
            count[side.role] += 1
    return found


def _against(comparison: Comparison, side: Times) -> tuple[float, float, float]:
    base = comparison.side(comparison.base)
    assert base is not None
    return spread(ratios(side, base))


def limit(comparison: Comparison, side: str) -> float | None:
    """Where the strictest target of a side lies, as a multiple of the comparison's base."""
    base = comparison.side(comparison.base)
    assert base is not None
    per_call = spread(base.seconds)[0]
    places = [
        place
        for target in TARGETS
        for measure in target.measures
        if isinstance(measure, (Ratio, Difference)) and (measure.comparison, measure.ours) == (comparison.name, side)
        if (place := _limit(target, measure, comparison, per_call)) is not None
    ]
    return min(places, default=None)


def _limit(target: Target, measure: Ratio | Difference, comparison: Comparison, per_call: float) -> float | None:
    named = (measure.other,) if isinstance(measure.other, str) else measure.other
    others = [_against(comparison, side)[0] for name in named if (side := comparison.side(name))]
    if not others:
        return None
    if isinstance(measure, Difference):
        return max(others) + target.limit / measure.scale / per_call
    return max(others) * (1 / target.limit if measure.speed else target.limit)


def _times(value: float, _: object = None) -> str:
    return f"{value:g}x" if value < 1000 else f"{value:,.0f}x"


def _ratio_axis(axis: Any, low: float, high: float) -> None:
    """A logarithmic axis of ratios, with the base at 1 on it."""
    wide = high / low > 30
    axis.set_major_locator(
        LogLocator(subs=(1.0,) if high / low > 1000 else (1.0, 2.0, 5.0) if not wide else (1.0, 3.0))
    )
    axis.set_major_formatter(FuncFormatter(_times))
    axis.set_minor_formatter(NullFormatter())


def _panels(comparisons: Sequence[Comparison], ground: Ground) -> Any:
    """A panel for each comparison: a row for each side, at its ratio, with quartiles; targets as upright lines."""
    columns = min(2, len(comparisons))
    rows = -(-len(comparisons) // columns)
    most = max(len(one.sides) for one in comparisons)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, rows * (0.24 * most + 0.75)), squeeze=False, layout="constrained"
    )
    colours = _colours([side for one in comparisons for side in one.sides], ground)
    for axis, comparison in zip(axes.flat, comparisons, strict=False):
        low, high = 1.0, 1.0
        for row, side in enumerate(comparison.sides):
            middle, first, third = _against(comparison, side)
            axis.plot([first, third], [row, row], color=colours[side.name], linewidth=3, alpha=0.45)
            axis.plot(middle, row, _SHAPES[side.role], color=colours[side.name], markersize=6)
            low, high = min(low, first), max(high, third)
            end = max(middle, third)
            if (place := limit(comparison, side.name)) is not None:
                axis.plot([place, place], [row - 0.42, row + 0.42], color=_TARGET[ground], linewidth=1.8)
                low, high, end = min(low, place), max(high, place), max(end, place)
            axis.annotate(
                _times(float(f"{middle:.2g}" if middle >= 10 else f"{middle:.2f}")),
                (end, row),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axis.set_xscale("log")
        axis.set_xlim(low / 1.3, high * (high / low) ** 0.14 * 1.25)
        _ratio_axis(axis.xaxis, low, high)
        axis.axvline(1, color=_INK[ground][1], linewidth=1.2, zorder=0)
        axis.set_yticks(range(len(comparison.sides)), [side.name for side in comparison.sides])
        axis.set_ylim(len(comparison.sides) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", which="minor", length=2)
        axis.set_title(comparison.title, fontsize=9.5, loc="left", fontweight="bold")
        axis.set_xlabel(f"time, {comparison.base} = 1", fontsize=8)
    for axis in list(axes.flat)[len(comparisons) :]:
        axis.set_visible(False)
    _key(figure, ground, any(limit(one, side.name) for one in comparisons for side in one.sides))
    return figure


def _key(figure: Any, ground: Ground, targets: bool) -> None:
    """What the marks mean."""
    text = _INK[ground][0]
    marks = [
        plt.Line2D([], [], marker=shape, linestyle="", color=text, label=label, markersize=5)
        for shape, label in (("o", "artifactfs"), ("s", "floor: by hand"), ("D", "peer"))
    ]
    marks.append(plt.Line2D([], [], color=text, linewidth=3, alpha=0.45, label="quartiles"))
    if targets:
        marks.append(
            plt.Line2D(
                [], [], marker="|", linestyle="", color=_TARGET[ground], label="target: at most", markersize=9, mew=1.8
            )
        )
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), fontsize=8)


def _mark(marker: str, ground: Ground) -> Any:
    """That of a target, in a key."""
    colour = _TARGET[ground]
    return plt.Line2D([], [], marker=marker, linestyle="", color=colour, label="target: at most", markersize=11, mew=2)


def _curve(comparisons: Sequence[Comparison], ground: Ground) -> Any:
    """A curve over `Comparison.x` for each side."""
    panels = {one.title: [each for each in comparisons if each.title == one.title] for one in comparisons}
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, 3.1 * rows + 0.3), squeeze=False, layout="constrained"
    )
    colours = _colours([side for one in comparisons for side in one.sides], ground)
    shown: dict[str, Any] = {}
    targets = False
    for axis, (title, points) in zip(axes.flat, panels.items(), strict=False):
        low, high = 1.0, 1.0
        for name in dict.fromkeys(side.name for one in points for side in one.sides):
            found = [(one, side) for one in points if (side := one.side(name))]
            values = [_against(one, side) for one, side in found]
            places = [one.x for one, _ in found]
            axis.fill_between(
                places,
                [one[1] for one in values],
                [one[2] for one in values],
                color=colours[name],
                alpha=0.2,
                linewidth=0,
            )
            (shown[name],) = axis.plot(
                places,
                [one[0] for one in values],
                f"{_SHAPES[found[0][1].role]}-",
                color=colours[name],
                label=name,
                markersize=4.5,
            )
            low, high = min(low, *(one[1] for one in values)), max(high, *(one[2] for one in values))
            for one, _ in found:
                if (place := limit(one, name)) is not None:
                    targets = True
                    axis.plot(one.x, place, "_", color=_TARGET[ground], markersize=15, markeredgewidth=2)
                    low, high = min(low, place), max(high, place)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(low / 1.3, high * 1.3)
        _ratio_axis(axis.yaxis, low, high)
        places = sorted({one.x for one in points if one.x is not None})
        axis.set_xticks(places, [f"{place:,.0f}" for place in places])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", which="minor", length=0)
        axis.axhline(1, color=_INK[ground][1], linewidth=1.2, zorder=0)
        axis.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
        axis.set_ylabel(f"time, {points[0].base} = 1", fontsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    handles = list(shown.values())
    if targets:
        handles.append(
            plt.Line2D(
                [], [], marker="_", linestyle="", color=_TARGET[ground], label="target: at most", markersize=12, mew=2
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), fontsize=8)
    return figure
