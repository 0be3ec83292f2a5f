"""Upkeep of a store or a scope: what collects and clears, and what may be planned where nothing may be written."""

from __future__ import annotations

import time
from dataclasses import replace

from artifactfs.operations.core import Core
from artifactfs.protocol import ability
from artifactfs.protocol.env import Env
from artifactfs.protocol.gc import Collected, collect
from artifactfs.protocol.ops import Steps


def gc(core: Core, folder: str, dry_run: bool, nobody_writes: bool) -> Steps[Collected]:
    """Collect what was left behind below *folder*."""
    env = yield from planning(core) if dry_run else core.writing()
    if nobody_writes:
        env = replace(env, fence_streams=True)
    return (yield from collect(env, core.custody, folder, dry_run=dry_run))


def planning(core: Core) -> Steps[Env]:
    """As `Core.writing`, for what only says what it would do: nothing is refused, and where nobody has probed a store
    that is read only, nothing is believed of it.
    """
    if not core.read_only:
        return (yield from core.writing())
    seen = core.abilities or (yield from ability.known(core.backend.identity, time.time()))
    return Env(fence_streams=core.single_writer or (seen is not None and seen.complete == "atomic"))
