"""Giving up a claim of our own that was surely never published: its number is tombstoned at once, not left to be fenced."""

from __future__ import annotations

from artifactfs.errors import ArtifactError
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, rewrite_record
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Put, Steps
from artifactfs.records import encode, tombstone


def abandon(env: Env, artifact: ArtifactId, claim: Claim) -> Steps[None]:
    """End *claim*. The name gets a mark first, for it may have no other version to show.

    What fails here is left as it is: the claim grows stale, and is settled by whoever meets it.
    """
    stone = tombstone(artifact.name, claim.number, claim.record.write_id, "fenced", env.stamp(claim.seen.floor))
    try:
        yield (Put(artifact.mark(claim.number), b"", "application/octet-stream"),)
        yield from rewrite_record(env, artifact, claim.number, encode(stone), claim.tag)
    except ArtifactError:
        pass
