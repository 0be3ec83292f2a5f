"""What can be done in a scope: all that reads (`artifactfs.operations.reading`), saving, and taking away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from artifactfs.errors import (
    AccessDenied,
    InvalidRef,
    VersionNotFound,
)
from artifactfs.layout import ArtifactId
from artifactfs.mime import check as check_mime
from artifactfs.mime import guess
from artifactfs.operations.core import rotating
from artifactfs.operations.reading import Reading, Version, _aware, number_of
from artifactfs.pointers import check_digest, check_size, check_uri
from artifactfs.protocol.env import Env
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.read import Found, fetch
from artifactfs.protocol.save import point, remove, save
from artifactfs.records import Blob, Pointer, Removed, check_metadata

if TYPE_CHECKING:
    from artifactfs.operations.undo import Undo
    from artifactfs.protocol.gc import Collected
    from artifactfs.protocol.prune import Pruned
    from artifactfs.protocol.rotate import Rotated
    from artifactfs.protocol.tags import ExpectedTag
    from artifactfs.retention import RetentionPolicy


class ScopeOperations(Reading):
    """What can be done in a session, or in what the sessions of a user share."""

    def save(
        self,
        name: str,
        head: bytes,
        whole: bool,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
    ) -> Steps[Blob]:
        """Save *head* if that is the *whole*; else what the driver's source brings, which begins like *head*."""
        artifact, plain = self._check(name, mime_type, metadata, expect)
        env = self.core.env or (yield from self.core.writing())
        kind = guess(artifact.name, head) if mime_type is None else mime_type
        memory = self.core.recall(artifact)
        try:
            if whole:
                record = yield from save(
                    env, artifact, head, mime_type=kind, metadata=plain, expect=expect, memory=memory
                )
            else:
                from artifactfs.protocol.stream import save_stream

                record = yield from save_stream(
                    env, artifact, mime_type=kind, metadata=plain, expect=expect, memory=memory
                )
        except BaseException:
            self.core.forget(artifact)
            raise
        self.core.remember(artifact, record)
        assert isinstance(record, Blob)
        return record

    def point(
        self,
        name: str,
        uri: str,
        *,
        mime_type: str | None = None,
        size_bytes: int | None = None,
        expected_sha256: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Steps[Pointer]:
        """Store a pointer to *uri* as the next version of *name* and return its record. Nothing is fetched.

        Loading or opening the version raises `PointerNotManaged`, which names the URI, unless ``follow`` says otherwise.

        >>> scope.point("paper.pdf", "https://example.org/paper.pdf").uri
        'https://example.org/paper.pdf'

        Args:
            uri: of a scheme that the store's ``pointer_schemes`` name.
            mime_type: else it is guessed from the name.
            size_bytes: of what lies there, if it is known; what is fetched must have it.
            expected_sha256: its SHA-256 in hexadecimal, if it is known; what is fetched must have it.
            metadata, expect: as for `save`.

        Raises:
            InvalidRef: the URI is none, or of a scheme that is not allowed.
            InvalidMetadata: size or digest are none.
            Conflict: *expect* is not so.
        """
        uri = check_uri(uri, self.core.schemes)
        size, digest = check_size(size_bytes), check_digest(expected_sha256)
        artifact, env, plain = yield from self.prepare(name, mime_type, metadata, expect, bytes_too=False)
        kind = guess(artifact.name) if mime_type is None else mime_type
        memory = self.core.recall(artifact)
        try:
            record = yield from point(
                env,
                artifact,
                uri,
                mime_type=kind,
                metadata=plain,
                size=size,
                sha256=digest,
                expect=expect,
                memory=memory,
            )
        except BaseException:
            self.core.forget(artifact)
            raise
        self.core.remember(artifact, record)
        assert isinstance(record, Pointer)
        return record

    def prepare(
        self,
        name: str,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
        *,
        bytes_too: bool = True,
    ) -> Steps[tuple[ArtifactId, Env, dict[str, Any]]]:
        """Refuse what could not be saved, before anybody writes anything."""
        artifact, plain = self._check(name, mime_type, metadata, expect, bytes_too)
        return artifact, (yield from self.core.writing()), plain

    def _check(
        self,
        name: str,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
        bytes_too: bool = True,
    ) -> tuple[ArtifactId, dict[str, Any]]:
        artifact = self.artifact(name)
        if bytes_too and self.core.mode == "pointer_only":
            raise AccessDenied(
                f"the store {self.core.backend.url} holds no bytes, for it was opened with mode='pointer_only'; save where "
                f"the content of {artifact.label!r} lies with scope.point(name, uri)",
                artifact=artifact.label,
            )
        if mime_type is not None:
            check_mime(mime_type)
        plain = check_metadata(metadata)
        if not (expect is None or expect == "absent" or (type(expect) is int and expect >= 0)):
            raise InvalidRef(f"expect must be a version number or 'absent', not {expect!r}", artifact=artifact.label)
        return artifact, plain

    def restore(self, name: str, version: Version = None, *, expect: Expected | None = None) -> Steps[Blob | Pointer]:
        """Make an old version the newest again: its content, MIME type and metadata become a new version.

        Without *version* an artifact that was removed comes back as it was before. Nothing is overwritten: the versions
        in between stay. The content is checked against its record on the way, so what was damaged is never published;
        more than 8 MiB pass in bounded memory. In a store with keys it is sealed anew; a pointer becomes a pointer.

        >>> scope.restore("notes.txt", 0).version
        2
        >>> scope.load("notes.txt").data
        b'first'

        Args:
            expect: as for `save`. Without *version* that is ``"absent"``, unless you say otherwise.

        Raises:
            ArtifactNotFound, VersionNotFound, IntegrityError, KeyUnavailable: as `load`.
            Conflict: *expect* is not so; or without *version* the artifact is there.
        """
        from artifactfs.operations import history

        artifact, env, _ = yield from self.prepare(name, None, None, expect, bytes_too=False)
        if version is None:
            found, expect = (yield from history.newest_kept(artifact)), "absent" if expect is None else expect
        else:
            found = yield from self._find(artifact, version, whole=False)
        return (yield from history.restore(self.core, env, artifact, found, expect))

    def restore_all(
        self, at: datetime | None = None, *, plan: Undo | None = None, dry_run: bool = False
    ) -> Steps[Undo]:
        """Bring all that lies here back to how it was at a time; what was done with each artifact that was not so.

        What was changed or removed since comes back, as a new version, what came into being since is removed, and what
        is as it was is left alone. The versions in between stay. Each step is compare-and-set: what somebody saves or
        removes meanwhile is reported as ``changed`` and left alone. What was deleted for good cannot come back, and is
        reported. An interrupted run goes on by being run again. Names of the user's scope are not touched by a session's.

        With *dry_run* nothing is done, and what is returned is the plan. Given as *plan* later, exactly that is done.

        >>> from datetime import datetime, UTC
        >>> undo = scope.restore_all(at=datetime(2020, 1, 1, tzinfo=UTC), dry_run=True)
        >>> [(step.action, step.name) for step in undo.steps]
        [('remove', 'notes.txt')]
        >>> scope.restore_all(plan=undo).complete, list(scope.names())
        (True, [])

        Args:
            at: an aware datetime: what ``records(at=…)`` tells is what will be there.
            plan: of this scope, or what an earlier call returned, of which what is not done is tried again.

        Raises:
            InvalidRef: not one of *at* and *plan*, or the plan is of another scope.
            BackendError: the store failed; run it again.
        """
        from artifactfs.operations.undo import carry_out, check_plan, make_plan

        if (at is None) == (plan is None) or (dry_run and plan is not None):
            raise InvalidRef("restore_all takes a time, with or without dry_run, or a plan")
        if plan is not None:
            plan = check_plan(plan, self.scope)
        env = None if dry_run else (yield from self.core.writing())
        if plan is None:
            assert at is not None
            plan = yield from make_plan(self.core, self.scope, _aware(at))
        return plan if env is None else (yield from carry_out(self.core, env, self.scope, plan))

    def remove(self, name: str, *, expect: int | None = None) -> Steps[Removed]:
        """Take an artifact out of view: it is gone from listings and from reads of the newest; its history stays.

        Older versions can still be loaded by their number; a later save or `restore` brings the name back.

        Args:
            expect: compare-and-set: remove only if the newest version is this one.

        Raises:
            ArtifactNotFound: there is nothing to remove.
            Conflict: *expect* is not so.
        """
        artifact = self.artifact(name)
        if not (expect is None or (type(expect) is int and expect >= 0)):
            raise InvalidRef(f"remove expects a version number, not {expect!r}", artifact=artifact.label)
        env = yield from self.core.writing()
        record = yield from remove(env, artifact, expect)
        self.core.remember(artifact, record)
        assert isinstance(record, Removed)
        return record

    def delete(self, name: str, version: int | None = None) -> Steps[None]:
        """Delete one version, or all, for good: the bytes are gone, the numbers are never given again.

        Raises:
            ArtifactNotFound, VersionNotFound: there is nothing to delete.
        """
        from artifactfs.protocol.delete import delete_all, delete_version

        artifact = self.artifact(name)
        env = yield from self.core.writing()
        if version is None:
            yield from delete_all(env, artifact)
            return
        number = number_of(version, artifact, "delete takes a version number")
        if number < 0:
            number = yield from self._from_the_end(artifact, number)
        yield from delete_version(env, artifact, number)

    def tag(self, name: str, tag: str, version: Version = None, *, expect: ExpectedTag | None = None) -> Steps[int]:
        """Let *tag* name a version of an artifact, the newest if none is said, and return its number.

        A tag is a word of 1 to 63 of a-z, 0-9 and -, a letter first, and not ``latest``; wherever a version is asked for,
        it stands for the number that it names. It may be moved: with *expect*, of all who move it at the same time from
        the same version only one succeeds. The versions themselves never change.

        >>> scope.tag("notes.txt", "prod", 0)
        0
        >>> scope.tag("notes.txt", "prod", 1, expect=0), scope.load("notes.txt", version="prod").data
        (1, b'second')

        Args:
            expect: the number that the tag has to name now, or ``"absent"``.

        Raises:
            InvalidRef: *tag* or *expect* is none.
            ArtifactNotFound, VersionNotFound: there is no such version to name.
            Conflict: *expect* is not so; nothing was changed.
            UnsafeBackend: the store does not rewrite on a condition, and a tag was to be moved with *expect*.
        """
        from artifactfs.protocol.tags import put_tag
        from artifactfs.refs import check_tag

        check_tag(tag)
        if not (expect is None or expect == "absent" or (type(expect) is int and expect >= 0)):
            raise InvalidRef(f"expect must be a version number or 'absent', not {expect!r}")
        artifact = self.artifact(name)
        env = yield from self.core.writing()
        found = yield from self.stat(name, version)
        yield from put_tag(env, artifact, tag, found.version, expect)
        if not isinstance((yield from fetch(artifact, found.version)), Found):
            raise VersionNotFound(
                f"version {found.version} of {artifact.label!r} was deleted while tag {tag!r} was set, which names nothing "
                "now: let it name another version, or take it away",
                artifact=artifact.label,
                version=found.version,
            )
        return found.version

    def untag(self, name: str, tag: str) -> Steps[None]:
        """Take a tag away; the version that it names stays.

        Raises:
            VersionNotFound: there is no such tag.
        """
        from artifactfs.protocol.tags import remove_tag
        from artifactfs.refs import check_tag

        artifact = self.artifact(name)
        yield from self.core.writing()
        yield from remove_tag(artifact, check_tag(tag))

    def prune(self, policy: RetentionPolicy | Mapping[str, Any], *, dry_run: bool = False) -> Steps[Pruned]:
        """Delete for good what a retention policy keeps no longer here, and tell of each version what was done, and why.

        Safe beside savers: what came since this began is not deleted, and right before each deletion it is looked whether
        what is to be kept is still there, and whether a tag was set. Where it fails half-way, pruning again goes on.
        Tombstones stay, as of any delete. A session's does not include what its user's sessions share.

        >>> report = scope.prune({"rules": [{"name": "*.txt", "keep_last": 1}]}, dry_run=True)
        >>> [(one.version, one.action, one.why) for one in report.versions]
        [(0, 'deleted', 'rules[0]: nothing keeps it'), (1, 'kept', 'rules[0]: newest, last')]

        Args:
            policy: a `RetentionPolicy`, or a mapping as a configuration file holds it (docs/retention.md).
            dry_run: change nothing, and tell what would be done.

        Raises:
            InvalidConfig: the policy makes no sense; nothing was deleted.
            UnsafeBackend, AccessDenied: as for a save, unless *dry_run*.
        """
        from artifactfs.protocol.prune import prune
        from artifactfs.retention import read_policy

        rules = read_policy(policy)
        env = None if dry_run else (yield from self.core.writing())
        return (yield from prune(env, rules, [self.scope], self.core.backend.url))

    def rotate(self, *, to: str, nobody_deletes: bool = False) -> Steps[Rotated]:
        """Wrap the data keys of all that lies here by the key *to*, and tell what was done. No payload is read or written.

        Safe beside savers and deletes. Where it fails half-way, rotating again goes on. Give *to* to every saver as its
        active key first; once the result is `complete`, nothing here needs the other keys any more. A session's does
        not include what its user's sessions share.

        >>> from artifactfs.keys.keyring import new_key
        >>> sealed = ArtifactStore("memory://rotated", keys=f"{new_key('v1')},{new_key('v2')}", active_key_id="v1")
        >>> scope = sealed.scope("shop", "alice", "s1")
        >>> scope.save("notes.txt", b"first").encryption.key_id
        'v1'
        >>> rotated = scope.rotate(to="v2")
        >>> rotated.rewrapped, rotated.complete
        (1, True)

        Args:
            nobody_deletes: you vouch that nobody deletes, compacts or rotates here meanwhile: for a store that does not
                rewrite on a condition.

        Raises:
            InvalidConfig: the store has no keys.
            KeyUnavailable: there is no key *to*.
            UnsafeBackend: the store has no conditional rewrite.
            AccessDenied: the store was opened with ``read_only=True``.
        """
        from artifactfs.protocol.rotate import Tally, rotate

        env = yield from rotating(self.core, to, nobody_deletes)
        tally = Tally(to)
        yield from rotate(env, self.scope, tally)
        return tally.result()

    def gc(self, *, dry_run: bool = False, nobody_writes: bool = False) -> Steps[Collected]:
        """Collect what crashed savers and interrupted deletes have left here, and tell what went, what stays, and why.

        Claims of numbers that were never published are ended, bytes under tombstones, uploads and temporary files that
        nobody can complete, and needless marks and hints removed. Safe beside savers: what a running one may still need
        is left, by the store's clock. Where it fails half-way, collect again. A session's does not include what its
        user's sessions share.

        >>> scope.gc(dry_run=True).collected
        ()

        Args:
            dry_run: change nothing, and tell what would go.
            nobody_writes: you vouch that nobody is saving here: for claims of streams in a store whose uploads complete
                over whatever is there.

        Raises:
            AccessDenied: the store was opened with ``read_only=True``, and this is no dry run.
            KeyUnavailable: the active key is not to be had, and a claim was to be ended.
        """
        from artifactfs.operations import upkeep

        return (yield from upkeep.gc(self.core, self.scope.folder, dry_run, nobody_writes))
