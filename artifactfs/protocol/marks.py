"""Marks: an empty key beside the artifacts tells a names listing to look inside before it shows a name, and no more.

Whoever may hide a name adds one *before* it does. A mark is a key of its own number, so that two cannot undo each other.
"""

from __future__ import annotations

from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Put, Steps

EMPTY_TYPE = "application/octet-stream"
"""Content type of objects that are no artifact: marks, hints, fences, the payload of a removal."""


def mark_hidden(artifact: ArtifactId, number: int) -> Steps[None]:
    """Tell names listings to look inside from now on."""
    yield (Put(artifact.mark(number), b"", EMPTY_TYPE),)
