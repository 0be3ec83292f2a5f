"""Erasing from an inventory: what was erased from the store is in no file of its inventory either, from then on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from artifactfs.custody import Custody
from artifactfs.errors import (
    AccessDenied,
    BackendError,
    BackendUnavailable,
    InvalidConfig,
    KeyUnavailable,
    UnsupportedFormat,
)
from artifactfs.inventory.manifest import FOLDER, Manifest, Part, clear, get, read, write
from artifactfs.inventory.refresh import hold, store_part
from artifactfs.inventory.table import Table, Work, is_installed
from artifactfs.protocol.env import Env
from artifactfs.protocol.erase import erase
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.publish import ROUNDS


def forget(env: Env, custody: Custody, folders: Sequence[str]) -> Steps[None]:
    """Take every row of what lay below *folders* out of the inventory; where that cannot be done here, all of it.

    The manifest changes in any case, so that a refresh which began before publishes nothing. Files that it does not
    name are removed at once, whoever made them.
    """
    for _ in range(ROUNDS):
        try:
            state = yield from read(custody)
            if state.tag is None:
                return
            if state.manifest is None or not is_installed():
                break
            manifest = yield from _without(env, state.manifest, folders)
            if manifest is None:
                break
            if (yield from write(env, custody, manifest, state.tag)):
                yield from clear([part.name for part in manifest.parts])
                return
        except (UnsupportedFormat, KeyUnavailable, InvalidConfig, BackendError) as error:
            if isinstance(error, (BackendUnavailable, AccessDenied)):
                raise
            break
    yield from erase(FOLDER)


def _without(env: Env, manifest: Manifest, folders: Sequence[str]) -> Steps[Manifest | None]:
    """A manifest of files without those rows; None where a file is gone or damaged."""
    base: list[Part] = []
    delta: list[Part] = []
    for part in manifest.parts:
        target = delta if part is manifest.delta else base
        if not any(part.reaches(folder) for folder in folders):
            target.append(part)
            continue
        left = yield from _rewritten(part, (yield from get(part)), folders)
        if left is None:
            return None
        target += left
    return msgspec.structs.replace(
        manifest, write_id=env.write_id(), base=tuple(base), delta=delta[0] if delta else None
    )


def _rewritten(part: Part, data: bytes | None, folders: Sequence[str]) -> Steps[tuple[Part, ...] | None]:
    """A file in the place of *part*, none where no row is left. None where *data* is not what the manifest says."""
    table: Table
    (table,) = yield (Work(Table),)
    try:

        def prepare() -> bool:
            path = hold(table, part, data)
            if path is not None:
                table.view("old", [path])
                table.run("CREATE TABLE erased (folder VARCHAR)")
                table.insert("erased", [(folder,) for folder in folders])
            return path is not None

        there: bool
        (there,) = yield (Work(prepare),)
        if not there:
            return None
        kept = "SELECT * FROM old WHERE NOT EXISTS (SELECT 1 FROM erased WHERE starts_with(key, folder)) ORDER BY key"
        return (yield from store_part(table, kept))
    finally:
        table.close()
