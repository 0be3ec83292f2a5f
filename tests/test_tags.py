"""Tags in URLs, in sealed stores, and moved by two at the same time; what every store promises is in the shipped suite."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest

from artifactfs import (
    ArtifactStore,
    AsyncArtifactStore,
    Conflict,
    IntegrityError,
    KeyUnavailable,
    UnsafeBackend,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import perform, run
from artifactfs.errors import AccessDenied, BackendUnavailable, ImmutableVersion
from artifactfs.keys.keyring import new_key
from artifactfs.protocol import tags
from artifactfs.protocol.delete import delete_version
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Get, Put, Replace
from artifactfs.store import Scope

from .proxy import DROP, Proxy, in_front_of
from .servers import Server

S = "shop/alice/s1"
V1, V2 = new_key("v1"), new_key("v2")

_fresh = itertools.count()


@pytest.fixture
def scope() -> Scope:
    scope = ArtifactStore(f"memory://tags-{next(_fresh)}", keys="none").scope("shop", "alice", "s1")
    scope.save("x", b"0")
    scope.save("x", b"1")
    return scope


# by URL and path


@pytest.fixture
def fs(tmp_path: Path) -> Any:
    fs = fsspec.filesystem("artifact", root=str(tmp_path), durability="none", skip_instance_cache=True)
    for name in ("x.csv", "reports/q1.csv", "reports/q2.csv"):
        fs.pipe(f"{S}/{name}", b"old")
        fs.pipe(f"{S}/{name}", b"new")
    scope = fs.store.scope("shop", "alice", "s1")
    scope.tag("x.csv", "prod", 0)
    scope.tag("reports/q1.csv", "prod", 0)
    scope.tag("reports/q2.csv", "other", 0)
    return fs


def test_a_tag_selects_behind_a_name_and_as_a_segment(fs: Any) -> None:
    assert fs.cat(f"{S}/x.csv@prod") == fs.cat(f"artifact://{S}/@prod/x.csv") == b"old"
    assert fs.cat(f"{S}/@prod/reports/q1.csv") == b"old"
    assert fs.info(f"{S}/x.csv@prod")["version"] == 0
    with fs.open(f"{S}/@prod/x.csv", "rb") as file:
        fs.store.scope("shop", "alice", "s1").tag("x.csv", "prod", 1)
        assert file.read() == b"old"
    assert fs.cat(f"{S}/x.csv@prod") == b"new"


def test_a_tag_over_a_folder_shows_what_has_it_and_can_be_loaded(fs: Any) -> None:
    assert fs.ls(f"{S}/@prod", detail=False) == [f"{S}/@prod/reports", f"{S}/@prod/x.csv"]
    assert fs.find(f"{S}/@prod") == [f"{S}/@prod/reports/q1.csv", f"{S}/@prod/x.csv"]
    assert fs.find(f"{S}/@prod/reports") == [f"{S}/@prod/reports/q1.csv"]
    assert [one["version"] for one in fs.find(f"{S}/@prod", detail=True).values()] == [0, 0]
    assert fs.isdir(f"{S}/@other/reports") and not fs.exists(f"{S}/@other/x.csv") and not fs.exists(f"{S}/@none")
    assert fs.glob(f"{S}/@prod/*.csv") == [f"{S}/@prod/x.csv"]
    fs.store.scope("shop", "alice", "s1").delete("x.csv", 0)
    assert fs.find(f"{S}/@prod") == [f"{S}/@prod/reports/q1.csv"]


def test_an_unknown_tag_says_how_the_name_is_written_that_was_perhaps_meant(fs: Any) -> None:
    for path, meant in ((f"{S}/x.csv@nope", "x.csv%40nope"), (f"{S}/@nope/x.csv", "%40nope/x.csv")):
        with pytest.raises(FileNotFoundError, match=f"no tag 'nope'.* write artifact://{S}/{meant}"):
            fs.cat_file(path)
        fs.pipe(f"{S}/{meant}", b"meant")
        assert fs.cat(f"{S}/{meant}") == b"meant"


def test_what_a_tag_names_is_not_written_to(fs: Any) -> None:
    for path in (f"{S}/x.csv@prod", f"{S}/@prod/x.csv"):
        with pytest.raises(ImmutableVersion, match=f"write to artifact://{S}/x.csv instead"):
            fs.pipe(path, b"newer")
        with pytest.raises(ImmutableVersion):
            fs.rm(path)
    assert fs.store.scope("shop", "alice", "s1").tags("x.csv") == {"prod": 0}


def test_a_damaged_tag_hides_nothing_else_in_its_folder(fs: Any, tmp_path: Path) -> None:
    (tmp_path / S / "@tags" / "x.csv" / "prod").write_bytes(b"{}")
    assert fs.find(f"{S}/@prod") == [f"{S}/@prod/reports/q1.csv", f"{S}/@prod/x.csv"]
    assert fs.cat(f"{S}/@prod/reports/q1.csv") == b"old"
    with pytest.raises(IntegrityError, match="set it again"):
        fs.cat_file(f"{S}/@prod/x.csv")
    fs.store.scope("shop", "alice", "s1").tag("x.csv", "prod", 0)
    assert fs.cat(f"{S}/@prod/x.csv") == b"old"


def test_a_tag_that_came_too_late_for_its_version_says_so(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    put = tags.put_tag

    def late(env: Env, artifact: Any, *rest: Any) -> Any:
        yield from put(env, artifact, *rest)
        yield from delete_version(env, artifact, 0)

    monkeypatch.setattr(tags, "put_tag", late)
    with pytest.raises(VersionNotFound, match="was deleted while tag 'prod' was set"):
        scope.tag("x", "prod", 0)


# what is stored


def test_a_tag_of_a_later_format_is_refused_and_set_again_is_read(scope: Scope) -> None:
    scope.tag("x", "prod", 0)
    key = scope.id.artifact("x").tag("prod")
    fields = msgspec.json.decode(_stored(scope, key))
    assert (fields["kind"], fields["format"], fields["filename"], fields["tag"], fields["version"]) == (
        "tag",
        1,
        "x",
        "prod",
        0,
    )
    _put(scope, key, msgspec.json.encode({**fields, "format": 2, "version": "somewhere else"}))
    with pytest.raises(UnsupportedFormat, match="upgrade"):
        scope.load("x", "prod")
    _put(scope, key, msgspec.json.encode({**fields, "more": True}))
    assert scope.load("x", "prod").data == b"0"


def test_a_tag_that_was_copied_to_another_word_is_refused(scope: Scope) -> None:
    scope.tag("x", "prod", 0)
    artifact = scope.id.artifact("x")
    _put(scope, artifact.tag("other"), _stored(scope, artifact.tag("prod")))
    with pytest.raises(IntegrityError, match="says that it is 'prod'"):
        scope.load("x", "other")


def test_a_tag_that_was_copied_to_another_artifact_is_refused(scope: Scope) -> None:
    scope.tag("x", "prod", 1)
    scope.save("y", b"another")
    _put(scope, scope.id.artifact("y").tag("prod"), _stored(scope, scope.id.artifact("x").tag("prod")))
    with pytest.raises(IntegrityError, match="says that it is 'prod' of 'x'"):
        scope.load("y", "prod")


def test_a_version_whose_key_is_not_to_be_had_hides_nothing_else_that_has_the_tag(tmp_path: Path) -> None:
    for key in ("v1", "v2"):
        scope = ArtifactStore(tmp_path, keys=f"{V1},{V2}", active_key_id=key).scope("shop", "alice", "s1")
        scope.save(f"of {key}", b"")
    for name in ("of v1", "of v2"):
        scope.tag(name, "prod")
    fs = fsspec.filesystem("artifact", root=str(tmp_path), keys=V2, active_key_id="v2", skip_instance_cache=True)
    assert fs.find(f"{S}/@prod") == [f"{S}/@prod/of v1", f"{S}/@prod/of v2"]


def test_a_store_that_may_only_be_read_tags_nothing(tmp_path: Path) -> None:
    ArtifactStore(tmp_path).scope("shop", "alice", "s1").save("x", b"0")
    scope = ArtifactStore(tmp_path, read_only=True).scope("shop", "alice", "s1")
    for ask in (lambda: scope.tag("x", "prod"), lambda: scope.untag("x", "prod")):
        with pytest.raises(AccessDenied):
            ask()


def test_tags_are_awaited() -> None:
    async def main() -> None:
        async with AsyncArtifactStore(f"memory://tags-{next(_fresh)}") as store:
            scope = store.scope("shop", "alice", "s1")
            await scope.save("x", b"0")
            assert await scope.tag("x", "prod") == 0
            assert (await scope.load("x", "prod")).data == b"0"
            assert await scope.tags("x") == {"prod": 0}
            await scope.untag("x", "prod")
            with pytest.raises(VersionNotFound):
                await scope.load("x", "prod")

    asyncio.run(main())


# with keys


@pytest.fixture
def sealed() -> Scope:
    scope = ArtifactStore(f"memory://tags-{next(_fresh)}", keys=f"{V1},{V2}", active_key_id="v1").scope(
        "shop", "alice", "s1"
    )
    for name in ("x", "y"):
        scope.save(name, b"0")
        scope.save(name, b"1")
        scope.tag(name, "prod", 0)
    return scope


def test_no_bit_of_a_sealed_tag_can_be_turned(sealed: Scope) -> None:
    key = sealed.id.artifact("x").tag("prod")
    data = _stored(sealed, key)
    for place in range(len(data)):
        _put(sealed, key, data[:place] + bytes([data[place] ^ 1 << place % 7]) + data[place + 1 :])
        with pytest.raises((IntegrityError, KeyUnavailable, UnsupportedFormat)):
            sealed.load("x", "prod")
    _put(sealed, key, data)
    assert sealed.load("x", "prod").data == b"0"


def test_a_sealed_tag_cannot_be_moved_elsewhere_nor_be_put_there_plain(sealed: Scope) -> None:
    x, y = sealed.id.artifact("x"), sealed.id.artifact("y")
    sealed.tag("x", "test", 1)
    own = _stored(sealed, x.tag("prod"))
    for source in (y.tag("prod"), x.tag("test")):
        _put(sealed, x.tag("prod"), _stored(sealed, source))
        with pytest.raises(IntegrityError):
            sealed.load("x", "prod")
    _put(sealed, x.tag("prod"), own)
    with ArtifactStore(sealed.store.url, keys="none") as plain:
        record = msgspec.json.decode(_stored(sealed, y.tag("prod")))
        bare = {name: value for name, value in record.items() if name not in ("encryption", "mac")}
        _put(sealed, y.tag("prod"), msgspec.json.encode(bare))
        with pytest.raises(IntegrityError, match="authenticated by no key"):
            sealed.load("y", "prod")
        with pytest.raises(KeyUnavailable):
            plain.scope("shop", "alice", "s1").load("x", "prod")


def test_a_rotation_rewraps_tags_and_then_the_old_key_is_not_needed(sealed: Scope) -> None:
    rotated = sealed.rotate(to="v2")
    assert (rotated.rewrapped, rotated.complete) == (6, True)
    assert sealed.rotate(to="v2").already == 6
    with ArtifactStore(sealed.store.url, keys=V2) as store:
        scope = store.scope("shop", "alice", "s1")
        assert scope.load("x", "prod").data == b"0"
        assert scope.tag("x", "prod", 1, expect=0) == 1


def test_a_rotation_names_a_tag_that_was_altered(sealed: Scope) -> None:
    key = sealed.id.artifact("x").tag("prod")
    _put(sealed, key, _stored(sealed, key).replace(b'"version":0', b'"version":1'))
    rotated = sealed.rotate(to="v2")
    assert rotated.altered == ("shop/alice/s1/x@prod",)


# two at the same time


def _interleaved(scope: Scope, order: tuple[int, ...]) -> list[int]:
    """Two move a tag from version 0, their requests in this *order*; who says that it was moved."""
    artifact = scope.id.artifact("x")
    run(tags.put_tag(Env(), artifact, "prod", 0, None), scope.store.backend)
    movers = [tags.put_tag(Env(), artifact, "prod", number, 0) for number in (1, 2)]
    waiting: list[Any] = [next(mover) for mover in movers]
    moved = []
    for turn in order + (0, 1) * 8:
        if waiting[turn] is None:
            continue
        try:
            waiting[turn] = movers[turn].send(perform(waiting[turn], scope.store.backend, None))
        except StopIteration:
            waiting[turn] = None
            moved.append(turn + 1)
        except Conflict:
            waiting[turn] = None
    assert waiting == [None, None]
    assert scope.tags("x") == {"prod": moved[-1]}
    return moved


ORDERS = list(itertools.product((0, 1), repeat=5))


def test_of_two_moves_from_one_version_one_succeeds_at_every_interleaving(scope: Scope) -> None:
    for order in ORDERS:
        assert len(_interleaved(scope, order)) == 1, order


def test_control_a_move_without_condition_is_caught(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(key: str, data: bytes, content_type: str, tag: str) -> Put:
        return Put(key, data, content_type)

    monkeypatch.setattr(tags, "Replace", put)
    assert any(len(_interleaved(scope, order)) == 2 for order in ORDERS)


def test_where_the_store_does_not_rewrite_on_a_condition_a_move_on_one_is_refused(scope: Scope) -> None:
    scope._core.env = Env(conditional=False)
    assert scope.tag("x", "prod", 0, expect="absent") == 0
    assert scope.tag("x", "prod", 1) == 1
    with pytest.raises(UnsafeBackend, match="does not rewrite on a condition"):
        scope.tag("x", "prod", 0, expect=1)
    assert scope.tags("x") == {"prod": 1}


@pytest.fixture
def lossy(moto: Server) -> Iterator[tuple[Scope, Proxy]]:
    with in_front_of(moto.url) as proxy:
        scope = ArtifactStore(moto.bucket(), **moto.at(proxy.url).storage_options).scope("shop", "alice", "s1")
        for number in range(3):
            scope.save("x", b"%d" % number)
        yield scope, proxy


def test_a_move_whose_answer_is_lost_happens_once(lossy: tuple[Scope, Proxy]) -> None:
    scope, proxy = lossy
    for number, expect in ((0, "absent"), (1, 0), (2, 1)):
        lost = proxy.once(DROP, method="PUT")
        assert scope.tag("x", "prod", number, expect=expect) == number  # type: ignore[arg-type]
        assert lost.hits == 1
        assert scope.tags("x") == {"prod": number}


def test_a_move_whose_answer_is_lost_and_that_somebody_moved_on_says_that_it_may_have_happened(scope: Scope) -> None:
    backend = scope.store.backend
    assert isinstance(backend, MemoryBackend)
    scope.save("x", b"2")
    scope.tag("x", "prod", 0)
    artifact = scope.id.artifact("x")
    mover = tags.put_tag(Env(), artifact, "prod", 1, 0)
    batch = mover.send(perform(next(mover), backend, None))
    assert isinstance(batch[0], Replace)
    perform(batch, backend, None)  # it lands, and its answer is lost: sent again it is refused
    (again,) = perform(batch, backend, None)
    assert not again.done
    scope.tag("x", "prod", 2, expect=1)
    answers: Any = (again._replace(tries=2),)
    with pytest.raises(BackendUnavailable, match="may have named in between") as caught:
        mover.send(perform(mover.send(answers), backend, None))
    assert caught.value.landed


def _stored(scope: Scope, key: str) -> bytes:
    (got,) = perform((Get(key),), scope.store.backend, None)
    return bytes(got.data)


def _put(scope: Scope, key: str, data: bytes) -> None:
    perform((Put(key, data, "application/json"),), scope.store.backend, None)
