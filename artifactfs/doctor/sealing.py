"""Whether the keys of a store work, and whether they fit what is stored there."""

from __future__ import annotations

from datetime import UTC, datetime

from artifactfs.backends.base import Got, Page
from artifactfs.custody import Custody
from artifactfs.doctor.report import Check
from artifactfs.drivers import perform, run
from artifactfs.errors import ArtifactError
from artifactfs.layout import RECORD, STORE_FOLDER, ScopeId
from artifactfs.protocol.ops import Get, List, Steps
from artifactfs.protocol.sealing import begin, data_key
from artifactfs.records import decode as decode_record
from artifactfs.records import encode, new_write_id, tombstone
from artifactfs.store import ArtifactStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SAMPLES = 8
"""Records of the store that are looked at."""


def keys(store: ArtifactStore) -> Check:
    """Whether a data key that is wrapped by the active key can be unwrapped, and whose keys the stored records name."""
    custody = store._core.custody
    if custody.keys is not None:
        try:
            run(_there_and_back(custody), store.backend)
        except ArtifactError as error:
            return Check("keys", "failed", str(error), "give the keys that the store was used with")
    try:
        stored = _stored_key_ids(store)
    except ArtifactError as error:
        return Check("keys", "skipped", f"what is stored could not be looked at ({type(error).__name__})")
    sealed = sorted(stored - {None})  # type: ignore[type-var]
    if custody.keys is None:
        if sealed:
            says = f"records here are sealed with {', '.join(map(str, sealed))}, and the store was opened without keys"
            return Check("keys", "failed", says, "give keys=, or set ARTIFACTFS_KEYS")
        return Check("keys", "ok", "nothing is sealed: the store has no keys")
    if None in stored and not custody.accept_plain:
        says = "the keys work; some records here were saved without keys, and are refused"
        return Check("keys", "warning", says, "open the store with accept_plain=True, or save that data anew")
    known = getattr(custody.keys, "ids", None)
    missing = [one for one in sealed if isinstance(known, tuple) and one not in known]
    if missing:
        says = (
            f"the keys work; some records here are sealed with {', '.join(map(str, missing))}, which is not among them"
        )
        return Check("keys", "warning", says, "add those keys; once all is rotated they are not needed any more")
    return Check(
        "keys", "ok", f"the keys work; saves are sealed with {custody.active_text or 'a key for each identity'}"
    )


def _there_and_back(custody: Custody) -> Steps[None]:
    artifact = ScopeId("artifactfs", "doctor", None, custody).artifact("check")
    seal = yield from begin(artifact, new_write_id())
    assert seal is not None
    stone = tombstone(artifact.name, 0, seal.identity.write_id, "deleted", _EPOCH, seal.encryption)
    record = decode_record(encode(stone))
    yield from data_key(artifact, record)


def _stored_key_ids(store: ArtifactStore) -> set[str | None]:
    """The ids of the keys that some records here name; None for records that nothing authenticates."""
    page: Page
    (page,) = perform((List("", deep=True),), store.backend, None)
    names = [
        entry.name
        for entry in page.entries
        if entry.name.endswith(RECORD) and entry.size and not entry.name.startswith(STORE_FOLDER)
    ]
    found: set[str | None] = set()
    for name in names[:: max(1, len(names) // SAMPLES)]:
        got: Got | None
        (got,) = perform((Get(name),), store.backend, None)
        try:
            record = None if got is None else decode_record(got.data)
        except ArtifactError:
            continue
        if record is not None:
            found.add(record.encryption.key_id if record.encryption else None)
    return found
