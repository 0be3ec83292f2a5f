"""The cases, in the order in which they run and are shown: a name, what it is about, and a function of a `Bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..bench import Bench
from . import small


class Case(NamedTuple):
    """`name` is what ``--only`` takes; `group` of its comparisons names the figure and starts with the case's name."""

    name: str
    title: str
    run: Callable[[Bench], None]


CASES = {case.name: case for case in (Case("memory", "Small artifacts in memory", small.memory),)}
