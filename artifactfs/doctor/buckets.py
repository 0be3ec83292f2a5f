"""Settings of a bucket or a folder that would hurt: what keeps deleted bytes, what takes stored ones away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from artifactfs.backends.base import Backend
from artifactfs.backends.local import LocalBackend
from artifactfs.doctor.report import Check
from artifactfs.drivers import call
from artifactfs.errors import AccessDenied, ArtifactError

UNKNOWN = frozenset({400, 403, 404, 405, 501})
"""Statuses by which a store says that it has no such setting, or does not tell it."""

COLD = frozenset({"GLACIER", "DEEP_ARCHIVE", "ARCHIVE"})
"""Storage classes whose objects cannot be read at once."""

FULL = 0.02
"""The part of a disk that is free below which saves may soon fail."""

KEEPS = (
    "versioning keeps the bytes of what is deleted or rewritten: delete, gc, compact and erase free no space and make "
    "nothing unreadable"
)
EXPIRE_THEM = "add a lifecycle rule that removes noncurrent versions, or suspend versioning"


def settings(backend: Backend, kind: str) -> Iterator[Check]:
    """What the store below is set to, as far as it tells."""
    if isinstance(backend, LocalBackend):
        yield from _of_disk(backend)
    elif kind == "s3":
        yield from _of_s3(backend)
    elif kind == "gcs":
        yield from _of_gcs(backend)


def _of_s3(backend: Any) -> Iterator[Check]:
    for name, method, judge in (
        ("versioning", "get_bucket_versioning", versioning),
        ("object lock", "get_object_lock_configuration", object_lock),
        ("lifecycle", "get_bucket_lifecycle_configuration", lambda body: lifecycle(body, backend.prefix)),
    ):
        try:
            answer = call(backend, lambda method=method: backend.ask(method, accept=UNKNOWN))  # type: ignore[misc]
        except ArtifactError as error:
            yield _untold(name, error)
            continue
        if answer.status == 403:
            yield Check(name, "skipped", f"these credentials may not read the bucket's {name}", "see it in the console")
        else:
            yield from judge({} if answer.code else answer.body)


def _untold(name: str, error: ArtifactError) -> Check:
    return Check(name, "skipped", f"the store does not tell the bucket's {name} ({type(error).__name__})")


def versioning(body: Mapping[str, Any]) -> Iterator[Check]:
    """Of what ``GetBucketVersioning`` answers."""
    if body.get("Status") == "Enabled":
        yield Check("versioning", "warning", f"the bucket has versioning on: {KEEPS}", EXPIRE_THEM)
    else:
        yield Check("versioning", "ok", "the bucket keeps no versions of its own")


def object_lock(body: Mapping[str, Any]) -> Iterator[Check]:
    """Of what ``GetObjectLockConfiguration`` answers."""
    found = body.get("ObjectLockConfiguration", {})
    if found.get("ObjectLockEnabled") != "Enabled":
        yield Check("object lock", "ok", "the bucket locks no objects")
        return
    rule = found.get("Rule", {}).get("DefaultRetention", {})
    held = f" for {rule.get('Days') or rule.get('Years')} {'days' if 'Days' in rule else 'years'}" if rule else ""
    mode = f" ({rule['Mode'].lower()})" if "Mode" in rule else ""
    if held:
        says = f"object lock{mode} keeps every object{held}: what is deleted or erased stays there until then"
        yield Check(
            "object lock", "warning", says, "use a bucket without default retention where deletion has to be real"
        )
    else:
        yield Check("object lock", "note", "object lock is on without a default retention: nothing is held by itself")


def lifecycle(body: Mapping[str, Any], prefix: str) -> Iterator[Check]:
    """Of what ``GetBucketLifecycleConfiguration`` answers; *prefix* is the store's, with its slash."""
    hurt = [check for rule in body.get("Rules", ()) if _applies(rule, prefix) for check in _rule(rule)]
    yield from hurt or [Check("lifecycle", "ok", "no lifecycle rule takes away what is stored here")]


def _applies(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether an enabled rule is about keys of this store; ours have no tags."""
    found = rule.get("Filter", {})
    both = found.get("And", {})
    if rule.get("Status") != "Enabled" or "Tag" in found or both.get("Tags"):
        return False
    return _overlaps([found.get("Prefix") or both.get("Prefix") or rule.get("Prefix") or ""], prefix)


def _overlaps(prefixes: Iterable[str], prefix: str) -> bool:
    return any(one.startswith(prefix) or prefix.startswith(one) for one in prefixes)


def _rule(rule: Mapping[str, Any]) -> Iterator[Check]:
    name = rule.get("ID") or "without a name"
    expires = rule.get("Expiration", {})
    if "Days" in expires or "Date" in expires:
        when = f"after {expires['Days']} days" if "Days" in expires else f"on {expires['Date']:%Y-%m-%d}"
        yield Check(
            "lifecycle",
            "failed",
            f"the lifecycle rule {name!r} deletes objects of this store {when}: versions would vanish, and numbers be "
            "given again",
            "limit the rule to other prefixes, and use retention (artifactfs prune) for what is to go",
        )
    cold = {one.get("StorageClass", "") for one in rule.get("Transitions", ())} & COLD
    if cold:
        yield Check(
            "lifecycle",
            "failed",
            f"the lifecycle rule {name!r} moves objects of this store to {', '.join(sorted(cold))}: they can no longer be "
            "read at once, records among them",
            "limit the rule to other prefixes, or to classes that are read at once",
        )


def _of_gcs(backend: Any) -> Iterator[Check]:
    try:
        found = call(backend, backend.settings)
    except AccessDenied:
        says = "these credentials may not read the bucket's settings (storage.buckets.get)"
        yield Check("bucket settings", "skipped", says, "see them in the console")
        return
    except ArtifactError as error:
        yield _untold("settings", error)
        return
    yield from gcs_settings(found, backend.prefix)


def gcs_settings(found: Mapping[str, Any], prefix: str) -> Iterator[Check]:
    """Of a bucket's resource in the JSON API; *prefix* is the store's, with its slash."""
    if found.get("versioning", {}).get("enabled"):
        yield Check("versioning", "warning", f"the bucket has versioning on: {KEEPS}", EXPIRE_THEM)
    else:
        yield Check("versioning", "ok", "the bucket keeps no versions of its own")
    seconds = int(found.get("retentionPolicy", {}).get("retentionPeriod", 0))
    if seconds or found.get("defaultEventBasedHold"):
        held = f"for {seconds} s" if seconds else "by a default hold"
        yield Check(
            "retention policy",
            "failed",
            f"the bucket refuses to rewrite and to delete objects {held}: long saves, deletes, tags and gc fail",
            "use a bucket without a retention policy and default holds",
        )
    softly = int(found.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))
    if softly:
        says = f"soft delete keeps what is deleted for {softly / 86400:.0f} days: it can be restored, and is paid for"
        yield Check("soft delete", "note", says, "turn soft delete off where deletion has to be real at once")
    hurt = [check for rule in found.get("lifecycle", {}).get("rule", ()) for check in _gcs_rule(rule, prefix)]
    yield from hurt or [Check("lifecycle", "ok", "no lifecycle rule takes away what is stored here")]


def _gcs_rule(rule: Mapping[str, Any], prefix: str) -> Iterator[Check]:
    action, condition = rule.get("action", {}), rule.get("condition", {})
    old_only = (
        condition.get("isLive") is False or "numNewerVersions" in condition or "daysSinceNoncurrentTime" in condition
    )
    if action.get("type") != "Delete" or old_only or not _overlaps(condition.get("matchesPrefix", [""]), prefix):
        return
    when = f"after {condition['age']} days" if "age" in condition else f"by {sorted(condition)}"
    yield Check(
        "lifecycle",
        "failed",
        f"a lifecycle rule deletes objects of this store {when}: versions would vanish, and numbers be given again",
        "limit the rule to other prefixes, and use retention (artifactfs prune) for what is to go",
    )


def _binary(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _of_disk(backend: LocalBackend) -> Iterator[Check]:
    root = backend.url.removeprefix("file://")
    there = root
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    space = shutil.disk_usage(there)
    free = f"{_binary(space.free)} of {_binary(space.total)} are free"
    facts = {"free_bytes": space.free, "total_bytes": space.total}
    if space.free < FULL * space.total:
        yield Check("disk", "warning", f"the disk is nearly full: {free}", "make room: prune, gc", facts)
    else:
        yield Check("disk", "ok", free, facts=facts)
    if os.path.isdir(root) and os.path.exists(os.path.join(root, ".lock")):
        same = os.path.exists(os.path.join(root, ".LOCK"))
        says = "the disk tells names apart that differ in capital letters only"
        if same:
            yield Check(
                "names",
                "warning",
                "the disk takes names for the same that differ in capital letters only: such artifacts would be mixed up",
                "use another disk, or never save names that differ only so",
            )
        else:
            yield Check("names", "ok", says)
