"""The cases, in the order in which they run and are shown: a name, what it is about, and a function of a `Bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..bench import Bench
from . import calls, imports, names, race, ranges, scaling, sealing, small, start, streams, versions


class Case(NamedTuple):
    """`name` is what ``--only`` takes; `group` of its comparisons names the figure and starts with the case's name."""

    name: str
    title: str
    run: Callable[[Bench], None]


CASES = {
    case.name: case
    for case in (
        Case("memory", "Small artifacts in memory", small.memory),
        Case("local", "Small artifacts in a folder", small.local),
        Case("s3", "Small artifacts on S3", small.s3),
        Case("gcs", "Small artifacts on Google Cloud Storage", small.gcs),
        Case("race", "Many processes save one name", race.race),
        Case("scaling", "Threads, tasks and processes", scaling.scaling),
        Case("versions-memory", "Very many versions, in memory", versions.memory),
        Case("versions-local", "Very many versions, in a folder", versions.local),
        Case("versions-s3", "Very many versions, on S3", versions.s3),
        Case("names", "Very many names", names.names),
        Case("streams-local", "Long streams, to a disk", streams.local),
        Case("streams-s3", "Long streams, over S3", streams.s3),
        Case("sealing", "Sealing and opening alone", sealing.sealing),
        Case("ranges", "Parts of a long artifact", ranges.ranges),
        Case("columns", "One column of a Parquet file, by its URL", ranges.columns),
        Case("calls", "One call of the filesystem", calls.calls),
        Case("imports", "A fresh interpreter", imports.imports),
        Case("start", "The command line's start", start.start),
    )
}
