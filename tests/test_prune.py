"""Pruning: what is deleted and what stays, what is asked of the store for it, and that it is safe beside everybody."""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from artifactfs import (
    ArtifactStore,
    AsyncArtifactStore,
    Pruned,
    RetentionPolicy,
    RetentionRule,
    VersionNotFound,
)
from artifactfs.backends.base import Got, Page, Written
from artifactfs.drivers import call
from artifactfs.errors import AccessDenied, ArtifactNotFound, BackendUnavailable, InvalidConfig
from artifactfs.retention import Candidate, _keeping
from artifactfs.store import Scope
from artifactfs.testing.counting import Counting

from .servers import Server
from .simulations.faults import planted
from .test_retention import oracle

KEY = f"v1:{base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip('=')}"
DAY = timedelta(days=1)


def policy(**settings: Any) -> RetentionPolicy:
    return RetentionPolicy(rules=(RetentionRule(**settings),))


LAST = policy(keep_last=2)
AN_HOUR = policy(keep_within=timedelta(hours=1), keep_newest=False)


@pytest.fixture
def store() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def scope(store: ArtifactStore) -> Scope:
    return store.scope("shop", "alice", "s1")


def save(scope: Scope, name: str, count: int) -> None:
    for number in range(count):
        scope.save(name, f"{name} {number}")


def objects(store: ArtifactStore) -> dict[str, bytes]:
    """All that lies in the store below, but for what a probe left."""
    found: dict[str, bytes] = {}
    backend, after = store.backend, ""
    while True:
        page: Page = call(backend, partial(backend.list, "", after, deep=True))
        for entry in page.entries:
            got: Got | None = call(backend, partial(backend.get, entry.name))
            if got is not None:
                found[entry.name] = got.data
        if page.next is None:
            return found
        after = page.next


def put(store: ArtifactStore, key: str, data: bytes) -> None:
    call(store.backend, lambda: store.backend.put(key, data, "application/json"))


def actions(report: Pruned) -> dict[str, str]:
    return {f"{one.artifact.rpartition('/')[2]}@{one.version}": one.action for one in report.versions}


def reasons(report: Pruned) -> dict[int, str]:
    return {one.version: one.why.partition(": ")[2] for one in report.versions}


class Passing:
    """A backend that passes everything on to another, whose clock is some days ahead."""

    def __init__(self, inner: Any, days: float = 0) -> None:
        self.inner, self.days = inner, days

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def now(self) -> float:
        now: float = await self.inner.now()
        return now + self.days * 86400


def over(backend: Any, store: ArtifactStore) -> ArtifactStore:
    """*store*, from now on over *backend*."""
    store._core.backend = backend
    return store


@contextmanager
def days_later(store: ArtifactStore, days: float) -> Iterator[None]:
    plain = store._core.backend
    over(Passing(plain, days), store)
    yield
    over(plain, store)


class Meddling(Passing):
    """Does something else right before the first call of *method* for a key that *when* fits."""

    def __init__(self, inner: Any, method: str, when: str, meddle: Callable[[], object], days: float = 0) -> None:
        super().__init__(inner, days)
        self._method, self._when, self._meddle = method, when, meddle
        self.done = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name != self._method:
            return value

        async def meddled(key: str, *args: Any, **kwargs: Any) -> Any:
            if not self.done and self._when in key:
                self.done = True
                with ThreadPoolExecutor(1) as elsewhere:
                    elsewhere.submit(self._meddle).result()
            return await value(key, *args, **kwargs)

        return meddled


@contextmanager
def meddling(store: ArtifactStore, meddle: Callable[[Scope], object], days: float = 0) -> Iterator[None]:
    """When all is planned, and before it is looked at once more, *meddle* does its work in the same store."""
    plain = store._core.backend
    beside = ArtifactStore(plain.url).scope("shop", "alice", "s1")
    # The plan ends with a look at the artifact's tags; the next listing of its own folder is the one before a deletion.
    backend = Meddling(plain, "list", "shop/alice/s1/n/", lambda: meddle(beside), days)
    over(backend, store)
    yield
    over(plain, store)
    assert backend.done


# --- what goes, and what the report says ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["store", "scope", "async store", "async scope"])
def test_what_no_rule_keeps_is_deleted_and_the_report_says_why(store: ArtifactStore, scope: Scope, kind: str) -> None:
    save(scope, "n", 5)
    scope.tag("n", "prod", 1)

    async def later() -> Pruned:
        async with AsyncArtifactStore(store.url) as awaited:
            pruned = awaited.prune if kind == "async store" else awaited.scope("shop", "alice", "s1").prune
            return await pruned(LAST)

    report = asyncio.run(later()) if "async" in kind else (store if kind == "store" else scope).prune(LAST)
    assert reasons(report) == {
        0: "nothing keeps it",
        1: "tag prod",
        2: "nothing keeps it",
        3: "last",
        4: "newest, last",
    }
    assert {one.why.partition(":")[0] for one in report.versions} == {"rules[0]"}
    assert {one.artifact for one in report.versions} == {"shop/alice/s1/n"}
    assert (report.deleted, report.kept, report.unjudged) == (2, 3, 0)
    assert (report.deleted_bytes, report.kept_bytes) == (6, 9)
    assert scope.versions("n") == [1, 3, 4]
    assert not report.dry_run
    assert scope.prune(LAST).deleted == 0


def test_a_number_that_was_pruned_is_never_given_again(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 3)
    with days_later(store, 1):
        scope.prune(AN_HOUR)
    assert scope.versions("n") == [] and list(scope.names()) == []
    with pytest.raises(ArtifactNotFound):
        scope.load("n", 2)
    assert scope.save("n", b"again").version == 3
    assert list(scope.names()) == ["n"]


def test_a_dry_run_says_the_same_and_changes_nothing(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)
    save(scope, "m", 1)
    scope.remove("m")
    before = objects(store)
    planned = store.prune(LAST, dry_run=True)
    assert planned.dry_run and planned.deleted == 3
    assert objects(store) == before
    assert store.prune(LAST).versions == planned.versions


def test_each_artifact_is_judged_by_the_first_rule_for_it_and_what_has_none_is_left_alone(store: ArtifactStore) -> None:
    for app, user, session in (("shop", "alice", "s1"), ("shop", "bob", "s1"), ("bank", "alice", "s1")):
        for name in ("a.log", "b.csv", "user:a.log"):
            save(store.scope(app, user, session), name, 4)
    rules = [
        {"app": "shop", "name": "user:*.log", "keep_last": 3},
        {"app": "shop", "name": "*.log", "keep_last": 1},
        {"app": "shop", "user": "bob", "keep_last": 2},
        {"app": "bank", "session": "none", "keep_last": 1},
    ]
    report = store.prune({"rules": rules})
    left = {
        (app, user, name): store.scope(app, user, "s1").versions(name)
        for app, user in (("shop", "alice"), ("shop", "bob"), ("bank", "alice"))
        for name in ("a.log", "b.csv", "user:a.log")
    }
    assert left == {
        ("shop", "alice", "a.log"): [3],
        ("shop", "alice", "b.csv"): [0, 1, 2, 3],
        ("shop", "alice", "user:a.log"): [1, 2, 3],
        ("shop", "bob", "a.log"): [3],
        ("shop", "bob", "b.csv"): [2, 3],
        ("shop", "bob", "user:a.log"): [1, 2, 3],
        ("bank", "alice", "a.log"): [0, 1, 2, 3],
        ("bank", "alice", "b.csv"): [0, 1, 2, 3],
        ("bank", "alice", "user:a.log"): [0, 1, 2, 3],
    }
    assert {one.artifact for one in report.versions} == {
        "shop/alice/s1/a.log",
        "shop/alice/user/a.log",
        "shop/bob/s1/a.log",
        "shop/bob/s1/b.csv",
        "shop/bob/user/a.log",
    }


def test_a_scope_is_pruned_alone_without_what_its_user_shares(store: ArtifactStore, scope: Scope) -> None:
    for name in ("n", "user:n"):
        save(scope, name, 3)
    other = store.scope("shop", "alice", "s2")
    save(other, "n", 3)
    assert scope.prune(LAST).deleted == 1
    assert (scope.versions("n"), scope.versions("user:n"), other.versions("n")) == ([1, 2], [0, 1, 2], [0, 1, 2])
    assert store.scope("shop", "alice").prune(LAST).deleted == 1


def test_a_policy_that_makes_no_sense_touches_nothing(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 3)
    with pytest.raises(InvalidConfig, match=r"the retention policy: \$\.rules\[0\]\.keep_last: 0 should be"):
        store.prune({"rules": [{"keep_last": 0}]})
    assert scope.versions("n") == [0, 1, 2]


def test_a_store_that_is_read_only_says_what_would_go(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 3)
    reader = ArtifactStore(store.url, read_only=True)
    assert reader.prune(LAST, dry_run=True).deleted == 1
    with pytest.raises(AccessDenied, match="read_only"):
        reader.prune(LAST)


def test_where_users_are_digests_rules_name_them_in_full(store: ArtifactStore) -> None:
    hidden = ArtifactStore(store.url, scope_secret="a secret of more than 32 characters, to be sure")
    for user in ("alice", "bob"):
        save(hidden.scope("shop", user, "s1"), "n", 3)
    with pytest.raises(InvalidConfig, match=r"users like 'ali\*'.*scope_secret"):
        hidden.prune(policy(user="ali*", keep_last=1))
    assert hidden.prune(policy(user="*", keep_last=2), dry_run=True).deleted == 2
    report = hidden.prune(policy(user="alice", keep_last=1))
    assert report.deleted == 2 and "alice" not in report.versions[0].artifact
    assert hidden.scope("shop", "bob", "s1").prune(policy(user="b*", keep_last=2)).deleted == 1


# --- by age and by calendar -------------------------------------------------------------------------------------------


def test_age_is_by_the_stores_clock_and_not_by_what_a_saver_believes(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 3)
    week = policy(keep_within=7 * DAY)
    assert store.prune(week).deleted == 0
    with days_later(store, 8):
        scope.save("n", b"stamped as the others, for the saver's clock stands still")
        assert reasons(store.prune(week, dry_run=True)) == {
            0: "nothing keeps it",
            1: "nothing keeps it",
            2: "nothing keeps it",
            3: "newest",
        }
        assert store.prune(AN_HOUR, dry_run=True).deleted == 4
    assert store.prune(AN_HOUR, dry_run=True).deleted == 0


def dated(folder: Path, name: str, number: int, stored: datetime, stamped: datetime) -> None:
    """Let a version have been stored, and stamped, at other times."""
    place = folder / "shop/alice/s1" / name
    record = place / f"{number}.metadata"
    fields = json.loads(record.read_bytes())
    fields["timestamp"] = stamped.isoformat()
    record.write_bytes(json.dumps(fields, separators=(",", ":")).encode())
    for path in (record, place / str(number)):
        os.utime(path, (stored.timestamp(), stored.timestamp()))


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_is_what_the_oracle_keeps(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    store = ArtifactStore(tmp_path, durability="none")
    scope = store.scope("shop", "alice", "s1")
    now = datetime.now(UTC)
    histories: dict[str, list[Candidate]] = {}
    for which in range(6):
        name, versions = f"n{which}", []
        at = now - timedelta(days=dice.uniform(0, 60))
        for number in range(dice.randrange(1, 9)):
            removal = bool(number) and dice.random() < 0.25
            try:
                scope.remove(name) if removal else scope.save(name, b"" if dice.random() < 0.1 else b"x" * (number + 1))
            except ArtifactNotFound:
                scope.save(name, b"x")
                removal = False
            at = min(at + timedelta(hours=dice.uniform(0, 200)), now - timedelta(minutes=1))
            stamped = min(at, at - timedelta(days=dice.choice([0, 0, 0, 3])))
            dated(tmp_path, name, number, at, stamped)
            versions.append(Candidate(number, at, stamped, removal))
        if dice.random() < 0.3 and not versions[0].removal:
            scope.tag(name, "prod", 0)
            versions[0] = versions[0]._replace(tags=("prod",))
        histories[name] = versions
    settings: dict[str, Any] = {
        f"keep_{kind}": dice.choice([None, None, 1, 2, 3]) for kind in ("last", "hourly", "daily", "weekly", "monthly")
    }
    settings |= {"keep_within": dice.choice([None, 5 * DAY, 20 * DAY])}
    if not any(settings.values()):
        settings = {"keep_all": True}
    settings |= {"keep_newest": dice.random() < 0.7, "expire_removed": dice.choice([None, 3 * DAY, 15 * DAY])}
    rule = RetentionRule(**settings)
    wanted = {name: oracle(rule, versions, now) for name, versions in histories.items()}
    store.backend.page_size = dice.choice([1, 2, 7, 1000])  # type: ignore[attr-defined]
    planned = store.prune(RetentionPolicy(rules=(rule,)), dry_run=True)
    report = store.prune(RetentionPolicy(rules=(rule,)))
    assert report.versions == planned.versions
    for name, versions in histories.items():
        left = {record.version for record in scope.history(name)}
        assert left == wanted[name], (name, rule, versions)
        told = {one.version for one in report.versions if one.artifact.endswith(f"/{name}") and one.action == "kept"}
        assert told == left
    shown = {name for name, versions in histories.items() if wanted[name] and not versions[max(wanted[name])].removal}
    assert set(scope.names()) == shown


# --- removals ---------------------------------------------------------------------------------------------------------


def test_a_removed_artifact_keeps_what_was_newest_until_it_expires_as_a_whole(
    store: ArtifactStore, scope: Scope
) -> None:
    save(scope, "n", 3)
    scope.remove("n")
    save(scope, "tagged", 2)
    scope.tag("tagged", "prod", 0)
    scope.remove("tagged")
    rule = policy(keep_within=timedelta(hours=1), expire_removed=30 * DAY)
    with days_later(store, 1):
        assert {
            f"{one.artifact.removeprefix('shop/alice/')}@{one.version}": one.why for one in store.prune(rule).versions
        } == {
            "s1/n@0": "rules[0]: nothing keeps it",
            "s1/n@1": "rules[0]: nothing keeps it",
            "s1/n@2": "rules[0]: newest",
            "s1/n@3": "rules[0]: removes what is kept",
            "s1/tagged@0": "rules[0]: tag prod",
            "s1/tagged@1": "rules[0]: newest",
            "s1/tagged@2": "rules[0]: removes what is kept",
        }
    assert scope.versions("n") == [2] and scope.versions("tagged") == [0, 1]
    with pytest.raises(ArtifactNotFound, match="was removed at version 3"):
        scope.load("n")
    with days_later(store, 31):
        assert actions(store.prune(rule)) == {
            "n@2": "deleted",
            "n@3": "deleted",
            "tagged@0": "kept",
            "tagged@1": "deleted",
            "tagged@2": "kept",
        }
    assert scope.versions("n") == [] and list(scope.names()) == []
    assert scope.load("tagged", "prod").data == b"tagged 0"


def test_the_name_of_what_expired_is_hidden_before_anything_is_deleted(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 2)
    seen: list[str] = []
    plain = store._core.backend

    class Watching(Passing):
        async def put(self, key: str, *args: Any, **kwargs: Any) -> Written:
            seen.append(f"put {key}")
            written: Written = await self.inner.put(key, *args, **kwargs)
            return written

        async def replace(self, key: str, *args: Any, **kwargs: Any) -> Written:
            seen.append(f"replace {key}")
            written: Written = await self.inner.replace(key, *args, **kwargs)
            return written

    over(Watching(plain, days=1), store)
    assert store.prune(AN_HOUR).deleted == 2
    assert seen == [
        "put shop/alice/s1/@hidden/n/1",
        "replace shop/alice/s1/n/0.metadata",
        "replace shop/alice/s1/n/1.metadata",
    ]


def test_claims_and_fences_and_leftovers_of_deletes_are_no_versions(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)
    stored = objects(store)
    scope.delete("n", 3)
    put(store, "shop/alice/s1/n/3", stored["shop/alice/s1/n/3"])  # a delete that was cut off
    put(
        store,
        "shop/alice/s1/n/5.metadata",
        stored["shop/alice/s1/n/4.metadata"].replace(b'"version":4', b'"version":5'),
    )
    put(store, "shop/alice/s1/n/6", b"artifactfs fence" + bytes(16))
    report = store.prune(LAST)
    assert actions(report) == {"n@0": "deleted", "n@1": "deleted", "n@2": "kept", "n@3": "deleted", "n@4": "kept"}
    assert reasons(report)[3] == "it was deleted, and its payload was left"
    assert "shop/alice/s1/n/3" not in objects(store)
    assert {"shop/alice/s1/n/3.metadata", "shop/alice/s1/n/5.metadata", "shop/alice/s1/n/6"} <= objects(store).keys()


# --- what is asked of the store ---------------------------------------------------------------------------------------


def methods(calls: Sequence[Any]) -> dict[str, int]:
    return {name: sum(one.method == name for one in calls) for name in sorted({one.method for one in calls})}


def test_where_nothing_goes_a_listing_tells_it_and_nothing_is_read(store: ArtifactStore, scope: Scope) -> None:
    for which in range(20):
        save(scope, f"n{which}", 2)
        scope.tag(f"n{which}", "prod", 0)
    counting = Counting(store.backend)
    over(counting, store)
    for kept in (LAST, policy(keep_within=DAY, keep_daily=3), policy(keep_last=9, expire_removed=DAY)):
        assert scope.prune(kept).kept == 40
        assert methods(counting.taken()) == {"list": 1, "now": 1}
    store.prune(LAST)
    assert methods(counting.taken()) == {"list": 4, "now": 1}  # of apps, users, sessions and all keys


def test_scopes_and_folders_that_no_rule_is_for_are_not_listed(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "big", 30)
    save(scope, "n", 3)
    save(store.scope("shop", "bob", "s1"), "n", 3)
    store.backend.page_size = 10  # type: ignore[attr-defined]
    counting = Counting(store.backend)
    over(counting, store)
    assert scope.prune(policy(name="n", keep_last=3)).kept == 3
    assert methods(counting.taken()) == {"list": 2, "now": 1}
    assert store.prune(policy(user="alice", name="n", keep_last=3)).kept == 3
    calls = counting.taken()
    assert [one.key for one in calls if "bob" in one.key] == ["shop/bob/"]


def test_a_version_that_goes_costs_three_requests_and_each_sixteen_two_looks(
    store: ArtifactStore, scope: Scope
) -> None:
    save(scope, "n", 34)
    scope.tag("n", "prod", 33)
    counting = Counting(store.backend)
    over(counting, store)
    assert scope.prune(LAST).deleted == 32
    # The scope's keys; the tags when it is planned, and tags and newest versions for each sixteen; of each a tag is read.
    assert methods(counting.taken()) == {
        "now": 1,
        "list": 1 + 1 + 2 * 2,
        "get": 34 + 3,
        "replace": 32,
        "delete": 32,
    }


def test_thinning_reads_each_record_of_an_artifact_once(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 10)
    counting = Counting(store.backend)
    over(counting, store)
    assert scope.prune(policy(keep_daily=3), dry_run=True).deleted == 9
    assert methods(counting.taken()) == {"get": 10, "list": 2, "now": 1}


# --- beside others, at the worst moment -------------------------------------------------------------------------------


def test_a_tag_that_is_set_before_the_deletion_keeps_its_version(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)
    with meddling(store, lambda beside: beside.tag("n", "prod", 1)):
        report = store.prune(LAST)
    assert reasons(report)[1] == "tag prod"
    assert scope.versions("n") == [1, 3, 4] and scope.load("n", "prod").data == b"n 1"


def test_a_version_that_comes_before_the_deletion_is_not_touched(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)
    with meddling(store, lambda beside: save(beside, "n", 3)):
        report = store.prune(LAST)
    assert report.deleted == 3 and len(report.versions) == 5
    assert scope.versions("n") == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("number", [3, 4])
def test_where_what_is_kept_is_deleted_by_somebody_what_takes_its_place_is_kept(
    store: ArtifactStore, scope: Scope, number: int
) -> None:
    save(scope, "n", 5)
    with meddling(store, lambda beside: beside.delete("n", number)):
        report = store.prune(LAST)
    assert scope.versions("n") == sorted({2, 3, 4} - {number})
    assert {one.version for one in report.versions} == {0, 1, 2, 3, 4} - {number}


def test_all_that_is_kept_is_looked_at_again_and_not_only_the_newest(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 12)
    with meddling(store, lambda beside: beside.delete("n", 5)):
        store.prune(policy(keep_last=8))
    assert scope.versions("n") == [3, 4, *range(6, 12)]


def test_a_version_that_comes_while_what_is_kept_is_deleted_is_kept_too(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)

    def meddle(beside: Scope) -> None:
        save(beside, "n", 4)
        beside.delete("n", 4)

    with meddling(store, meddle):
        store.prune(policy(keep_last=1))
    assert scope.versions("n") == [5, 6, 7, 8]


@pytest.mark.parametrize("how", ["saved", "claimed"])
def test_what_expired_and_comes_back_into_view_before_the_deletion_is_kept(
    store: ArtifactStore, scope: Scope, how: str
) -> None:
    save(scope, "n", 3)
    scope.remove("n")
    claim = objects(store)["shop/alice/s1/n/2.metadata"].replace(b'"version":2', b'"version":4')

    def meddle(beside: Scope) -> None:
        if how == "saved":
            beside.save("n", b"back")
        else:
            put(beside.store, "shop/alice/s1/n/4.metadata", claim)

    with meddling(store, meddle, days=31):
        report = store.prune(policy(keep_last=5, expire_removed=30 * DAY))
    assert report.deleted == 0
    assert scope.versions("n") == [0, 1, 2, *[4][: how == "saved"]]


def test_an_artifact_that_others_keep_changing_is_left_and_said_to_be(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 60)
    plain = store._core.backend
    beside = ArtifactStore(plain.url).scope("shop", "alice", "s1")

    class Restless(Passing):
        async def list(self, folder: str, *args: Any, **kwargs: Any) -> Page:
            if folder == "shop/alice/s1/n/":
                with ThreadPoolExecutor(1) as elsewhere:
                    elsewhere.submit(lambda: beside.delete("n", -1)).result()
            page: Page = await self.inner.list(folder, *args, **kwargs)
            return page

    over(Restless(plain), store)
    report = store.prune(LAST)
    over(plain, store)
    assert report.deleted == 0
    assert "others keep changing the artifact: prune again" in set(reasons(report).values())
    assert scope.prune(LAST).deleted > 0


def test_what_somebody_else_deletes_first_is_no_failure(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 5)
    with meddling(store, lambda beside: [beside.delete("n", number) for number in (0, 1)]):
        report = store.prune(LAST)
    assert scope.versions("n") == [3, 4]
    assert {one.version for one in report.versions if one.action == "kept"} == {3, 4}


class Crashing(Passing):
    """Fails for good after so many writes; the last one takes effect or does not."""

    def __init__(self, inner: Any, after: int, landing: bool) -> None:
        super().__init__(inner, days=1)
        self.left, self.landing = after, landing

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name not in ("create", "put", "replace", "delete"):
            return value

        async def crashed(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left >= 0 or (self.landing and self.left == -1):
                done = await value(*args, **kwargs)
                if self.left >= 0:
                    return done
            raise BackendUnavailable("crashed", landed=self.landing)

        return crashed


@pytest.mark.parametrize("landing", [False, True])
def test_a_prune_that_was_cut_off_anywhere_goes_on(landing: bool) -> None:
    kept = RetentionPolicy(
        rules=(
            RetentionRule(name="n", keep_last=1),
            RetentionRule(name="gone", keep_within=timedelta(hours=1), keep_newest=False),
        )
    )
    for writes in range(30):
        store = ArtifactStore(f"memory://{uuid.uuid4().hex}")
        scope = store.scope("shop", "alice", "s1")
        save(scope, "n", 4)
        save(scope, "gone", 2)
        scope.remove("gone")
        plain = store._core.backend
        over(Crashing(plain, writes, landing), store)
        try:
            store.prune(kept)
            ended = True
        except BackendUnavailable:
            ended = False
        over(plain, store)
        assert scope.versions("n")[-1] == 3 and list(scope.names()) == ["n"]
        with days_later(store, 1):
            store.prune(kept)
        assert scope.versions("n") == [3] and list(scope.history("gone")) == []
        assert not [key for key in objects(store) if key.endswith(("/0", "/1")) and "@hidden" not in key]
        if ended:
            break
    assert ended and writes > 10


# --- sealed, altered, unknown -----------------------------------------------------------------------------------------


def test_a_sealed_store_is_pruned_and_without_its_keys_as_far_as_a_listing_tells(store: ArtifactStore) -> None:
    scope = ArtifactStore(store.url, keys=KEY).scope("shop", "alice", "s1")
    save(scope, "n", 5)
    save(scope, "removed", 2)
    scope.remove("removed")
    blind = store.prune(policy(keep_daily=1), dry_run=True)
    assert (blind.deleted, blind.unjudged) == (0, 7)
    assert "cannot be told without the key 'v1'" in reasons(blind)[0]
    assert actions(blind)["removed@2"] == "kept"
    assert scope.prune(policy(keep_daily=1), dry_run=True).deleted == 5
    assert actions(store.prune(policy(keep_last=4, name="n"))) == {
        "n@0": "deleted",
        **{f"n@{number}": "kept" for number in range(1, 5)},
    }
    assert scope.prune(policy(keep_last=2)).deleted == 2
    assert scope.versions("n") == [3, 4] and scope.load("n").data == b"n 4"
    assert not scope.prune(LAST).unjudged


def test_what_is_damaged_is_reported_and_kept_and_displaces_nothing(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 6)
    stored = objects(store)
    put(store, "shop/alice/s1/n/0.metadata", b"{")
    put(store, "shop/alice/s1/n/6", b"its record was cut off")
    put(store, "shop/alice/s1/n/6.metadata", stored["shop/alice/s1/n/5.metadata"][:-9])
    put(store, "shop/alice/s1/n/1", b"longer than it was")
    put(store, "shop/alice/s1/n/2.metadata", stored["shop/alice/s1/n/2.metadata"].replace(b'"format":1', b'"format":9'))
    report = store.prune(policy(keep_last=1))
    assert actions(report) == {
        "n@0": "unjudged",
        "n@1": "unjudged",
        "n@2": "unjudged",
        "n@3": "deleted",
        "n@4": "deleted",
        "n@5": "kept",
        "n@6": "unjudged",
    }
    assert report.unjudged == 4
    why = reasons(report)
    assert "does not decode" in why[0] and "does not match" in why[1] and "upgrade artifactfs" in why[2]


def test_what_is_altered_in_a_sealed_store_is_reported_and_kept(store: ArtifactStore) -> None:
    scope = ArtifactStore(store.url, keys=KEY).scope("shop", "alice", "s1")
    save(scope, "n", 4)
    stored = objects(store)
    first = stored["shop/alice/s1/n/0.metadata"]
    put(store, "shop/alice/s1/n/0.metadata", first.replace(b'"metadata":{}', b'"metadata":{"a":1}'))
    put(store, "shop/alice/s1/n/9", b"by another program")
    report = scope.prune(policy(keep_last=1))
    assert actions(report) == {
        "n@0": "unjudged",
        "n@1": "deleted",
        "n@2": "deleted",
        "n@3": "kept",
        "n@9": "unjudged",
    }


def test_a_tag_that_cannot_be_read_keeps_all_of_its_artifact(store: ArtifactStore, scope: Scope) -> None:
    save(scope, "n", 4)
    save(scope, "m", 4)
    scope.tag("n", "prod", 0)
    put(store, "shop/alice/s1/@tags/n/prod", b"{")
    report = store.prune(LAST)
    assert [one.version for one in report.versions if one.action == "unjudged"] == [0, 1]
    assert "a tag might name it" in report.versions[4].why
    assert scope.versions("n") == [0, 1, 2, 3] and scope.versions("m") == [2, 3]


def test_a_payload_that_another_program_wrote_is_as_old_as_the_store_says(store: ArtifactStore, scope: Scope) -> None:
    for number in range(4):
        put(store, f"shop/alice/s1/n/{number}", b"by another program")
    assert actions(store.prune(policy(keep_daily=1))) == {
        "n@0": "deleted",
        "n@1": "deleted",
        "n@2": "deleted",
        "n@3": "kept",
    }
    assert scope.save("n", b"ours").version == 4


# --- on stores of their own kinds -------------------------------------------------------------------------------------


def prune_over(server: Server, **options: Any) -> None:
    with ArtifactStore(server.bucket(), **server.storage_options, **options) as store:
        scope = store.scope("shop", "alice", "s1")
        save(scope, "n", 6)
        scope.tag("n", "prod", 3)
        save(scope, "gone", 2)
        scope.remove("gone")
        rules = RetentionPolicy(rules=(RetentionRule(name="gone", keep_last=1, keep_newest=False), *LAST.rules))
        assert store.prune(rules, dry_run=True).deleted == 4
        assert store.prune(rules).deleted == 4
        assert scope.versions("n") == [3, 4, 5] and scope.versions("gone") == [1]
        assert list(scope.names()) == ["n"]


def test_a_store_in_s3_is_pruned(moto: Server) -> None:
    prune_over(moto)


@pytest.mark.server("fake_gcs")
def test_a_store_in_google_cloud_storage_is_pruned(fake_gcs: Server) -> None:
    prune_over(fake_gcs)


# --- beside savers ----------------------------------------------------------------------------------------------------


class Raced(NamedTuple):
    """What a saver that ran beside a prune has seen."""

    saved: dict[tuple[str, int], bytes]
    tagged: dict[tuple[str, str], int]


def save_beside(where: str, options: dict[str, Any], who: int, turns: int, ends: float) -> Raced:
    """Save a name of one's own and one that all share, and look each time that what the policy keeps is there."""
    seen = Raced({}, {})
    with ArtifactStore(where, **options) as store:
        scope = store.scope("shop", "alice", "s1")
        own, turn, mine = f"own {who}", 0, list[int]()
        while turn < turns and time.time() < ends:
            for name in (own, "shared"):
                data = f"{who} {turn} {name}".encode()
                number = scope.save(name, data).version
                seen.saved[name, number] = data
                if name == own:
                    mine = [*mine, number][-3:]
            for number in mine:
                assert scope.load(own, number).data == seen.saved[own, number]
            if turn % 5 == 0:  # one of the last three: no prune may have it
                seen.tagged[own, f"turn-{turn}"] = scope.tag(own, f"turn-{turn}", mine[-1])
            if turn % 7 == 3:
                scope.remove(own)
            turn += 1
    return seen


def race(
    pool: Executor, where: str, options: dict[str, Any], turns: int, ends: float = float("inf")
) -> tuple[Raced, int, int]:
    """Four savers, and a prune that keeps the last three; what they saw, how often was pruned, and how many went."""
    rounds, deleted = 0, 0
    kept = policy(keep_last=3, name="[os]*")
    running = [pool.submit(save_beside, where, options, who, turns, ends) for who in range(4)]
    with ArtifactStore(where, **options) as store:
        while not all(one.done() for one in running):
            report = store.prune(kept)
            assert not report.unjudged
            rounds, deleted = rounds + 1, deleted + report.deleted
        deleted += store.prune(kept).deleted
    raced = Raced({}, {})
    for one in running:
        seen = one.result()
        assert not raced.saved.keys() & seen.saved.keys()
        raced.saved.update(seen.saved)
        raced.tagged.update(seen.tagged)
    return raced, rounds, deleted


def check_raced(where: str, options: dict[str, Any], raced: Raced, deleted: int) -> None:
    scope = ArtifactStore(where, **options).scope("shop", "alice", "s1")
    gone = 0
    for name in {name for name, _ in raced.saved}:
        numbers = sorted(number for one, number in raced.saved if one == name)
        tagged = {number for (one, _), number in raced.tagged.items() if one == name}
        assert scope.versions(name) == sorted({*numbers[-3:], *tagged})
        gone += len(numbers) - len(scope.versions(name))
        for number in scope.versions(name):
            assert scope.load(name, number).data == raced.saved[name, number]
    for (name, tag), number in raced.tagged.items():
        assert scope.load(name, tag).data == raced.saved[name, number]
    assert deleted >= gone > 0


def test_beside_savers_nothing_is_lost_that_the_policy_keeps(tmp_path: Path) -> None:
    options = {"durability": "none"}
    with ThreadPoolExecutor(4) as pool:
        # How often it prunes meanwhile is for the machine to say.
        raced, _, deleted = race(pool, str(tmp_path), options, 15)
    check_raced(str(tmp_path), options, raced, deleted)
    assert len(raced.saved) == 4 * 15 * 2


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_minute_beside_savers_nothing_is_lost_that_the_policy_keeps(tmp_path: Path, kind: str, moto: Server) -> None:
    where = str(tmp_path) if kind == "local" else moto.bucket()
    options: dict[str, Any] = {"durability": "none"} if kind == "local" else moto.storage_options
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        raced, rounds, deleted = race(pool, where, options, 10**6, time.time() + 60)
    check_raced(where, options, raced, deleted)
    print(f"{len(raced.saved)} saves, {len(raced.tagged)} tags, {rounds} prunes, {deleted} deleted")
    assert rounds > 10


def test_a_prune_that_keeps_one_too_few_is_caught_by_the_savers_beside_it(tmp_path: Path) -> None:
    """The control of the race: what it looks for is found where it is."""
    options = {"durability": "none"}
    with (
        ThreadPoolExecutor(4) as pool,
        planted(_keeping, ("[: rule.keep_last]", "[: rule.keep_last - 1]")),
        pytest.raises((VersionNotFound, AssertionError)),
    ):
        check_raced(str(tmp_path), options, *race(pool, str(tmp_path), options, 15)[::2])
