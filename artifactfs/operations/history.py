"""An old version as a new one: what it holds is read, checked on the way, and saved again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeVar

from artifactfs.backends.base import WHOLE_LIMIT, Backend, Got
from artifactfs.codecs.base import decode_whole
from artifactfs.content import Content
from artifactfs.custody import DataKey
from artifactfs.errors import AccessDenied, ArtifactNotFound, Conflict, IntegrityError, VersionNotFound
from artifactfs.layout import ArtifactId
from artifactfs.operations.core import Core
from artifactfs.pointers import check_uri
from artifactfs.protocol.env import Env
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.listing import look_all
from artifactfs.protocol.ops import Get, Op, Pull, Rewind, Steps
from artifactfs.protocol.read import Found, confirm, newest
from artifactfs.protocol.save import point, save
from artifactfs.protocol.stream import save_stream
from artifactfs.records import Blob, Pointer, Record, Removed, fits, payload_size

T = TypeVar("T")

PIECE = 4 * 1024 * 1024
"""Bytes that a longer version is read in at a time."""


@dataclass(frozen=True, slots=True)
class Range(Op):
    """Bytes of a version's content, opened where it is sealed."""

    content: Content
    start: int
    end: int

    async def perform(self, backend: Backend) -> bytes:
        return await self.content.read(self.start, self.end)


def newest_kept(artifact: ArtifactId) -> Steps[Found]:
    """The newest version of an artifact that was removed.

    Raises:
        Conflict: it is there, so that nobody needs to bring it back.
        ArtifactNotFound: no version is there.
    """
    found, _ = yield from newest(artifact)
    if found is not None and not isinstance(found.record, Removed):
        raise Conflict(
            f"artifact {artifact.label!r} is there, at version {found.number}; to make an older version the newest one say "
            "which",
            artifact=artifact.label,
        )
    view = yield from look_all(artifact)
    for number in sorted(view.payloads, reverse=True):
        seen = yield from confirm(artifact, number, view.payloads[number], strict=True)
        if isinstance(seen, Found) and not isinstance(seen.record, Removed):
            return seen
    raise ArtifactNotFound(
        f"no version of {artifact.label!r} is there to be restored: it was never saved, or deleted for good",
        artifact=artifact.label,
    )


def restore(core: Core, env: Env, artifact: ArtifactId, found: Found, expect: Expected | None) -> Steps[Blob | Pointer]:
    """Save what *found* holds as the next version, with its MIME type and metadata; sealed anew where the store has keys.

    More than 8 MiB are read and saved piece by piece. What has not the digest of its record, or does not open, is never
    published.
    """
    memory = core.recall(artifact)
    try:
        record = yield from copied(core, env, artifact, found.record, found.key, expect=expect, memory=memory)
    except BaseException:
        core.forget(artifact)
        raise
    core.remember(artifact, record)
    assert isinstance(record, (Blob, Pointer))
    return record


def copied(
    core: Core, env: Env, artifact: ArtifactId, record: Record, key: DataKey | None, **how: Any
) -> Steps[Record]:
    """As `restore`. *how*: what a save is told besides what it saves."""
    how |= {"mime_type": record.mime_type, "metadata": record.metadata}
    if isinstance(record, Pointer):
        uri = check_uri(record.uri, core.schemes)
        return (yield from point(env, artifact, uri, size=record.expected_size, sha256=record.expected_sha256, **how))
    assert isinstance(record, Blob)
    if core.mode == "pointer_only":
        raise AccessDenied(
            f"the store {core.backend.url} holds no bytes, for it was opened with mode='pointer_only'; version "
            f"{record.version} of {artifact.label!r} cannot be restored in it",
            artifact=artifact.label,
        )
    pieces = Pieces(core.backend, artifact, record, key)
    if pieces.content.size > WHOLE_LIMIT:
        return (yield from _fed(save_stream(env, artifact, **how), pieces))
    data = yield from pieces.all()
    return (yield from save(env, artifact, data, **how))


class Pieces:
    """The content of a version piece by piece, with the digest of what was read where its record tells one."""

    def __init__(self, backend: Backend, artifact: ArtifactId, record: Blob, key: DataKey | None) -> None:
        self.artifact, self.record = artifact, record
        self.codec = artifact.custody.codec(artifact, record, key)
        self.content = Content(backend, artifact, record, self.codec)
        self.sealed = key is not None  # each chunk tells then whether it is genuine, and the digest is another's
        self.rewind()

    def rewind(self) -> None:
        self.at, self.digest = 0, hashlib.sha256()

    def next(self) -> Range | None:
        """How to read the next piece; None at the end."""
        if self.at >= self.content.size:
            return None
        return Range(self.content, self.at, min(self.at + PIECE, self.content.size))

    def take(self, piece: bytes) -> bytes:
        self.at += len(piece)
        if not self.sealed:
            self.digest.update(piece)
            if self.at == self.content.size and self.record.sha256 not in (None, self.digest.hexdigest()):
                raise _altered(self.artifact, self.record)
        return piece

    def all(self) -> Steps[bytes]:
        """All of it at once, checked."""
        got: Got | None
        (got,) = yield (Get(self.artifact.payload(self.record.version), 0, payload_size(self.record) + 1),)
        if got is None:
            raise VersionNotFound(
                f"version {self.record.version} of {self.artifact.label!r} was deleted while it was read",
                artifact=self.artifact.label,
                version=self.record.version,
            )
        if not fits(self.record, got.data):
            raise _altered(self.artifact, self.record)
        try:
            return decode_whole(self.codec, got.data)
        except IntegrityError as error:
            raise _altered(self.artifact, self.record) from error


def _altered(artifact: ArtifactId, record: Blob) -> IntegrityError:
    return IntegrityError(
        f"the payload of version {record.version} of {artifact.label!r} does not match its record: it was altered after it "
        "was saved; other versions are not affected",
        artifact=artifact.label,
    )


def _fed(steps: Steps[T], pieces: Pieces) -> Steps[T]:
    """Run *steps*, which save a stream, on the content of a version instead of what a caller brings."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answers, error = None, None
        try:
            if isinstance(batch[0], Rewind):
                pieces.rewind()
                answers = (True,)
            elif not isinstance(batch[-1], Pull):
                answers = yield batch
            elif (piece := pieces.next()) is not None:
                (*others, data) = yield (*batch[:-1], piece)
                answers = (*others, pieces.take(data))
            else:
                others = (yield batch[:-1]) if len(batch) > 1 else ()
                answers = (*others, b"")
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as raised:  # noqa: BLE001  (a save cleans up after anything)
            error = raised
