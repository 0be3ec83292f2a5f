"""Whether a store can be reached, what these credentials may do there, what it guarantees, its clock and its latency."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from artifactfs.backends.base import Backend, Unfinished
from artifactfs.doctor.report import Check, State
from artifactfs.drivers import call
from artifactfs.errors import AccessDenied, ArtifactError, BackendUnavailable
from artifactfs.layout import STORE_FOLDER
from artifactfs.protocol.ability import DOES
from artifactfs.store import ArtifactStore

SAMPLES = 5
"""Requests of which the median is told."""

SLOW = 1.0
"""Seconds for one small request from which that is worth a note."""

AHEAD = 60.0
"""Seconds by which this clock may be ahead of the store's before times of versions mislead."""

SKEWED = 300.0
"""Seconds by which the clocks may differ either way; S3 refuses requests from 900 on."""

TYPE = "text/plain"


@dataclass(frozen=True)
class Kind:
    """The names of the permissions of one kind of store, as its own documents have them."""

    list: str
    read: str
    create: str
    rewrite: str
    delete: str
    uploads: str = ""
    abort: str = ""


S3 = Kind(
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:PutObject (If-Match)",
    "s3:DeleteObject",
    "s3:ListBucketMultipartUploads",
    "s3:AbortMultipartUpload",
)
GCS = Kind(
    "storage.objects.list",
    "storage.objects.get",
    "storage.objects.create",
    "storage.objects.delete (to rewrite)",
    "storage.objects.delete",
)
OTHER = Kind("list", "read", "create", "rewrite", "delete")


@dataclass
class Access:
    """A store below that is being tried, and what came of it."""

    backend: Backend
    kind: Kind
    checks: list[Check] = field(default_factory=list)
    refusals: list[ArtifactError] = field(default_factory=list)
    allowed: int = 0
    reached: bool = True

    def __post_init__(self) -> None:
        self.key = f"{STORE_FOLDER}probe/doctor-{secrets.token_hex(8)}"

    def told(self, name: str, state: State, says: str, do: str = "", **facts: Any) -> None:
        self.checks.append(Check(name, state, says, do, facts))

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return call(self.backend, make)

    def permitted(self, name: str, make: Callable[[], Coroutine[Any, Any, Any]], needed: str) -> Any:
        """Try one operation and tell whether it is permitted; its answer, or the error."""
        try:
            answer = self.run(make)
        except AccessDenied as error:
            self.refusals.append(error)
            self.told(f"permission {name}", "failed", str(error), f"allow {name}: {needed}")
            return error
        except ArtifactError as error:
            self.told(f"permission {name}", "failed", str(error))
            return error
        self.allowed += 1
        self.told(f"permission {name}", "ok", "allowed")
        return answer


def reach(access: Access) -> None:
    """Whether anything answers, and lists; a refusal is one of permission."""
    try:
        access.run(lambda: access.backend.list("", limit=1))
    except AccessDenied:
        access.told("reach", "skipped", "a listing was refused")
        return
    except ArtifactError as error:
        access.reached = False
        do = "see that the address is right and the server runs" if isinstance(error, BackendUnavailable) else ""
        access.told("reach", "failed", str(error), do)
        return
    access.told("reach", "ok", "the store answers")


def permissions(access: Access, *, writes: bool) -> None:
    """Each permission that the library needs, by name. What is written for that is taken away again."""
    backend, kind, key = access.backend, access.kind, access.key
    access.permitted(kind.list, lambda: backend.list("", limit=1), "names, versions and saves need it")
    access.permitted(kind.read, lambda: backend.get(key), "loads and saves need it")
    if not writes:
        return
    data = b"artifactfs doctor: to be removed\n"
    made = access.permitted(kind.create, lambda: backend.create(key, data, TYPE), "saves need it")
    if isinstance(made, ArtifactError):
        return
    tag = made.tag or _tag(access)
    if backend.abilities is None or backend.abilities.rewrite != "ignored":
        needed = "long saves, deletes and tags rewrite small objects"
        access.permitted(kind.rewrite, lambda: backend.replace(key, data, TYPE, tag), needed)
    if kind.uploads:
        _uploads(access)
    gone = access.permitted(kind.delete, lambda: backend.delete((key,)), "delete, gc, erase and untag need it")
    if isinstance(gone, ArtifactError):
        access.told("left over", "note", f"the object {key!r} of this check could not be removed", "remove it by hand")


def _tag(access: Access) -> str:
    there = access.run(lambda: access.backend.stat(access.key))
    return "" if there is None else str(there.tag)


def _uploads(access: Access) -> None:
    """Uploads in parts: begun, listed and given up."""
    kind = access.kind
    backend: Any = access.backend  # of S3, which is not imported here: s3fs may be missing
    key = f"{access.key}-parts"
    begun = access.run(lambda: backend.ask("create_multipart_upload", key, ContentType=TYPE))
    listing = access.permitted(
        kind.uploads, lambda: backend.unfinished(key), "gc and erase look for uploads that were never ended"
    )
    upload = Unfinished(key, 0.0, begun.body["UploadId"])
    ended = access.permitted(
        kind.abort, lambda: backend.discard(upload), "long saves that fail, gc and erase take back what they began"
    )
    if isinstance(listing, ArtifactError) or isinstance(ended, ArtifactError):
        access.told("left over", "note", f"an upload of {key!r} may be left", "abort it by hand")


def credentials(access: Access) -> None:
    """Where everything was refused, nobody's permission is missing: it is the credentials that are wrong."""
    if access.refusals and not access.allowed:
        first = access.refusals[0]
        access.checks[:] = [one for one in access.checks if not one.name.startswith("permission ")]
        do = "" if access.kind is OTHER else "give the right key and secret, or a policy that allows anything"
        access.told("credentials", "failed", str(first), do)
    elif access.reached:
        access.told("credentials", "ok", "accepted")


def guarantees(access: Access, store: ArtifactStore, *, single_writer: bool) -> None:
    """What a probe sees of creates, and whether savers would lose each other's versions."""
    try:
        seen = store.probe()
    except ArtifactError as error:
        access.told("guarantees", "failed", str(error))
        return
    facts = seen._asdict()
    if seen.create != "atomic":
        if single_writer:
            says = "creates are not atomic; the store was opened with single_writer=True"
            access.told("guarantees", "note", says, "never let a second process write there", **facts)
        else:
            access.told(
                "guarantees",
                "failed",
                f"the store {DOES[seen.create]} (seen: {seen.create}), so saves could be lost",
                "use a store with atomic If-None-Match, or say single_writer=True if one process alone writes",
                **facts,
            )
        return
    weak = []
    if seen.complete != "atomic":
        weak.append("the number of a long save that crashed is never taken over while others may be writing")
    if seen.rewrite != "atomic":
        weak.append("tags cannot be moved with expect=, and rotation wants nobody_deletes=True")
    access.told("guarantees", "note" if weak else "ok", "; ".join(["saves are safe", *weak]), **facts)


def clock(access: Access) -> None:
    """This machine's clock beside the one that dates objects in the store. Told also where the store refuses requests."""
    before = time.time()
    try:
        there = float(access.run(access.backend.now))
    except ArtifactError as error:
        access.told("clock", "skipped", f"the store did not tell its time ({type(error).__name__})")
        return
    after = time.time()
    # Times of stores are whole seconds, and were told somewhere between the two.
    ahead = max(before - there - 1.0, 0.0) or min(after - there, 0.0)
    facts: dict[str, Any] = {"ahead_seconds": round(ahead, 1)}
    if ahead > AHEAD or ahead < -SKEWED:
        state: State = "warning"
        hurts = "times of versions saved here lie in the future" if ahead > 0 else "keys and signatures may be refused"
        says = f"this clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the store's: {hurts}"
        access.told("clock", state, says, "set this machine's clock by NTP", **facts)
    else:
        access.told("clock", "ok", "this clock and the store's agree", **facts)


def latency(access: Access) -> None:
    """The median time of a small read."""
    seconds = statistics.median(_timed(access))
    facts: dict[str, Any] = {"read_seconds": round(seconds, 4), "samples": SAMPLES}
    says = f"a small read takes {seconds * 1000:.1f} ms"
    if seconds > SLOW:
        access.told("latency", "note", says, "use a store that is nearer, or many requests at a time", **facts)
    else:
        access.told("latency", "ok", says, **facts)


def _timed(access: Access) -> Iterator[float]:
    for _ in range(SAMPLES):
        began = time.perf_counter()
        access.run(lambda: access.backend.get(access.key))
        yield time.perf_counter() - began
