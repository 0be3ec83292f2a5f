"""Keys, data keys and the scope secret show nowhere: in no log, repr, pickle, traceback or error text.

What is looked through is searched for each secret as bytes and in every text form that it could take. The keys are made
afresh for each run, so that no source line holds one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import secrets
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.custody import DataKey, fresh_key
from artifactfs.errors import ArtifactError, BackendUnavailable, IntegrityError, InvalidConfig, KeyUnavailable
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.keys.base import Identity
from artifactfs.keys.keyring import Keyring
from artifactfs.store import Scope
from artifactfs.testing.store_base import Raw

from .servers import Server

URL = "artifact://shop/alice/s1/x"

Thing = Callable[[], object]


class Secrets:
    """The secrets of one test: two keys, the scope secret, and each data key that was made meanwhile."""

    def __init__(self) -> None:
        self.first, self.second = secrets.token_bytes(32), secrets.token_bytes(32)
        self.scope_secret = f"scope-secret-{uuid.uuid4().hex}"
        self.data_keys: list[DataKey] = []

    @property
    def keys(self) -> str:
        return f"v1:{_base64url(self.first)}"

    @property
    def wrong(self) -> str:
        return f"v1:{_base64url(self.second)}"

    @property
    def other(self) -> str:
        return f"v2:{_base64url(self.second)}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"keys": self.keys, "scope_secret": self.scope_secret}

    def forms(self) -> Iterator[bytes]:
        for secret in (self.first, self.second, self.scope_secret.encode(), *(key.secret for key in self.data_keys)):
            yield secret
            yield repr(secret)[2:-1].encode()
            yield secret.hex().encode()
            yield secret.hex().upper().encode()
            yield base64.b64encode(secret).rstrip(b"=")
            yield _base64url(secret).encode()
            yield str(list(secret)).encode()

    def in_(self, shown: str | bytes) -> bool:
        data = shown.encode("utf-8", "surrogatepass") if isinstance(shown, str) else shown
        return any(form in data for form in self.forms())


def _base64url(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    made = Secrets()

    def noted() -> DataKey:
        key = fresh_key()
        made.data_keys.append(key)
        return key

    monkeypatch.setattr("artifactfs.protocol.sealing.fresh_key", noted)
    return made


@pytest.fixture
def url() -> str:
    return f"memory://secrets-{uuid.uuid4().hex}"


def session(url: str, **settings: Any) -> Scope:
    return ArtifactStore(url, **settings).scope("shop", "alice", "s1")


def filesystem(url: str, **settings: Any) -> ArtifactFileSystem:
    fs: ArtifactFileSystem = fsspec.filesystem("artifact", root=url, skip_instance_cache=True, **settings)
    return fs


def test_the_search_finds_each_form_of_each_secret(held: Secrets, url: str) -> None:
    """The control of all that follows."""
    session(url, **held.settings).save("x", b"data")
    (data_key,) = held.data_keys
    assert len(set(held.forms())) > 4 * 5
    for secret in (held.first, held.scope_secret.encode(), data_key.secret):
        for shown in (
            secret,
            repr({"key": secret}),
            secret.hex(),
            base64.b64encode(secret).decode(),
            base64.urlsafe_b64encode(secret),
            pickle.dumps({"key": secret}),
            f"keys={_base64url(secret)},",
            str(list(secret)),
        ):
            assert held.in_(shown)
    assert held.in_(pickle.dumps(held.settings)) and held.in_(repr(held.settings))
    assert not held.in_(repr(held)) and not held.in_(secrets.token_bytes(1000))


# what shows itself


def _things(held: Secrets, url: str) -> dict[str, object]:
    """All that a user holds, and what they would find one step further in."""
    scope = session(url, **held.settings)
    scope.save("x", b"data")
    reader = scope.open("x")
    reader.read(1)
    with scope.open("y", "wb") as writer:
        writer.write(b"data")
    fs = filesystem(url, **held.settings)
    custody = scope.store._core.custody
    tasks = AsyncArtifactStore(url, **held.settings)
    with fs.open(URL) as file:
        file.read(1)
    with fs.open(URL + "2", "wb") as target:
        target.write(b"data")
    return {
        "store": scope.store,
        "scope": scope,
        "scope's id": scope.id,
        "artifact's id": scope.id.artifact("x"),
        "core": scope.store._core,
        "backend": scope.store.backend,
        "custody": custody,
        "keys": custody.keys,
        "remembered": custody.remembered,
        "data key": held.data_keys[0],
        "record": scope.stat("x"),
        "loaded": scope.load("x"),
        "reader": reader,
        "writer": writer,
        "async store": tasks,
        "async scope": tasks.scope("shop", "alice", "s1"),
        "filesystem": fs,
        "filesystem's file": file,
        "filesystem's writer": target,
        "open file": fsspec.open(f"{URL}::{url}", **held.settings),
        "mapper": fs.get_mapper("shop/alice/s1"),
        "info": fs.info(URL),
    }


def test_no_repr_shows_a_secret_nor_does_one_of_what_an_object_holds(held: Secrets, url: str) -> None:
    for what, thing in _things(held, url).items():
        shown = [repr(thing), str(thing), f"{thing!a}", repr(dir(thing))]
        shown += [f"{name}={value!r}" for name, value in getattr(thing, "__dict__", {}).items()]
        if what != "data key":
            shown += [f"{name}={getattr(thing, name, None)!r}" for name in getattr(type(thing), "__slots__", ())]
        for text in shown:
            assert not held.in_(text), f"{what} shows a secret: {text[:80]}"


def test_a_repr_that_shows_a_secret_is_caught(held: Secrets, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a careless repr of the keyring."""
    monkeypatch.setattr(Keyring, "__repr__", lambda self: f"<Keyring v1:{_base64url(held.first)}>")
    with pytest.raises(AssertionError, match="shows a secret"):
        test_no_repr_shows_a_secret_nor_does_one_of_what_an_object_holds(held, url)


def test_what_a_filesystem_tells_to_open_it_elsewhere_holds_no_secret(held: Secrets, url: str) -> None:
    own = url.partition(":")[0]
    for options in (
        held.settings,
        {own: held.settings},
        {"artifact": held.settings},
    ):
        fs, _ = fsspec.url_to_fs(f"{URL}::{url}", **options)
        fs.pipe_file(URL, b"data")
        assert "v1" in repr(Raw(session(url, **held.settings), "x").get("0.metadata"))
        for shown in (fs.to_json(), repr(fs.to_dict()), repr(fs.storage_options), repr(fs.storage_args), fs._fs_token):
            assert not held.in_(shown)
        assert not held.in_(pickle.dumps(fs))


# what travels


def test_what_is_pickled_holds_no_secret_and_opens_only_where_the_environment_has_the_keys(
    held: Secrets, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = _things(held, url)
    travelled = 0
    for what, thing in things.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of what only this test pickles
                data = pickle.dumps(thing)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        travelled += 1
        assert not held.in_(data), what
    assert travelled >= 6
    pickled = [pickle.dumps(things[what]) for what in ("store", "async store", "filesystem")]
    for missing in ("ARTIFACTFS_KEYS", "ARTIFACTFS_SCOPE_SECRET"):
        monkeypatch.setenv("ARTIFACTFS_KEYS", held.keys)
        monkeypatch.setenv("ARTIFACTFS_SCOPE_SECRET", held.scope_secret)
        store, _, fs = map(pickle.loads, pickled)
        assert store.scope("shop", "alice", "s1").load("x").data == fs.cat_file(URL) == b"data"
        monkeypatch.delenv(missing)
        opened: list[Thing] = [
            lambda: pickle.loads(pickled[0]),
            lambda: pickle.loads(pickled[1]),
            lambda: pickle.loads(pickled[2]).cat_file(URL),
            lambda: pickle.loads(pickled[2]).pipe_file(URL, b"plain"),
        ]
        for thing in opened:
            ArtifactFileSystem.clear_instance_cache()
            with pytest.raises(KeyUnavailable, match=f"travel with it, and {missing} is not set"):
                thing()
    assert session(url, **held.settings).versions("x") == [0]


def test_what_was_opened_with_keys_of_the_environment_opens_nowhere_without_them(
    held: Secrets, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTFS_KEYS", held.keys)
    monkeypatch.setenv("ARTIFACTFS_SCOPE_SECRET", held.scope_secret)
    store, fs = ArtifactStore(url), filesystem(url)
    fs.pipe_file(URL, b"data")
    pickled = [pickle.dumps(store), pickle.dumps(fs)]
    told = fs.to_json()
    assert not any(map(held.in_, [*pickled, told]))
    assert pickle.loads(pickled[1]).cat_file(URL) == b"data"
    for name in ("ARTIFACTFS_KEYS", "ARTIFACTFS_SCOPE_SECRET"):
        monkeypatch.delenv(name)
    opened: list[Thing] = [
        lambda: pickle.loads(pickled[0]),
        lambda: pickle.loads(pickled[1]).pipe_file(URL, b"plain"),
        lambda: fsspec.AbstractFileSystem.from_json(told).pipe_file(URL, b"plain"),
    ]
    for thing in opened:
        ArtifactFileSystem.clear_instance_cache()
        with pytest.raises(KeyUnavailable, match="ARTIFACTFS_KEYS is not set"):
            thing()


def test_data_keys_keyrings_and_codecs_are_not_pickled(held: Secrets, url: str) -> None:
    scope = session(url, **held.settings)
    scope.save("x", b"data")
    custody = scope.store._core.custody
    content = scope._content("x", 0)
    for thing in (held.data_keys[0], custody, custody.keys, custody.remembered, content._codec):
        with pytest.raises(TypeError, match=r"not pickled|neither pickled"):
            pickle.dumps(thing)


# errors


class Down:
    """Keys that are kept where nobody answers."""

    def __init__(self, ring: Keyring) -> None:
        self.ring, self.up = ring, False

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        if not self.up:
            raise BackendUnavailable("nobody answers")
        return self.ring.wrap(key_id, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        raise BackendUnavailable("nobody answers")


def _failures(held: Secrets, url: str) -> dict[str, Thing]:
    """Calls that fail, in as many ways as keys can be wrong and what is stored be altered."""
    scope = session(url, **held.settings)
    scope.save("x", b"genuine" * 10_000)
    scope.save("bent", b"genuine" * 10_000)
    scope.save("torn", b"genuine" * 10_000)
    scope.save("cut", b"genuine")
    scope.point("p", "https://example.org/")
    hidden = {"scope_secret": held.scope_secret}
    for name, entry, alter in (
        ("bent", "0", lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:]),
        ("torn", "0.metadata", lambda data: data.replace(b'"metadata":{}', b'"metadata":{"a":1}')),
        ("cut", "0", lambda data: data[:-1]),
    ):
        raw = Raw(scope, name)
        stored = raw.get(entry)
        assert stored is not None
        raw.put(entry, alter(stored))
    bent_key = session(url, **hidden, keys=held.keys)
    wrong, other = session(url, **hidden, keys=held.wrong), session(url, **hidden, keys=held.other)
    without, plain = session(url, **hidden), session(url + "-plain")
    plain.save("x", b"plain")
    down = Down(Keyring({"v1": held.first}))
    remote = session(url, **hidden, keys=down, active_key_id="v1")
    remote_up = Down(Keyring({"v1": held.first}))
    remote_up.up = True
    nobody = session(url, **held.settings, active_key_id=lambda _: "v9")
    broken = session(url, **held.settings, active_key_id=lambda _: "no id")
    fs, wrong_fs = filesystem(url, **held.settings), filesystem(url, **hidden, keys=held.wrong)
    tasks = AsyncArtifactStore(url, **hidden, keys=held.wrong)

    def awaited() -> object:
        return asyncio.run(tasks.scope("shop", "alice", "s1").load("x"))  # type: ignore[arg-type]

    return {
        "wrong key": lambda: wrong.load("x"),
        "wrong key, ranges": lambda: wrong.open("x"),
        "wrong key, tasks": awaited,
        "wrong key, filesystem": lambda: wrong_fs.cat_file(URL),
        "wrong key, file of a filesystem": lambda: wrong_fs.open(URL).read(),
        "missing key": lambda: other.load("x"),
        "no keys": lambda: without.load("x"),
        "plain data": lambda: session(url + "-plain", keys=held.keys).load("x"),
        "nobody answers a save": lambda: remote.save("y", b"data"),
        "nobody answers a stream": lambda: remote.save("y", iter([bytes(9_000_000)])),
        "nobody answers a load": lambda: remote.load("x"),
        "nobody answers a load after a save": lambda: session(url, **hidden, keys=remote_up, active_key_id="v1").load(
            "x"
        ),
        "no such active key": lambda: nobody.save("y", b"data"),
        "no such active key, stream": lambda: nobody.save("y", iter([bytes(9_000_000)])),
        "no such active key, removal": lambda: nobody.remove("x"),
        "no such active key, delete": lambda: nobody.delete("x"),
        "no such active key, pointer": lambda: nobody.point("y", "https://example.org/"),
        "an active key with a space": lambda: broken.save("y", b"data"),
        "altered payload": lambda: scope.load("bent"),
        "altered payload, ranges": lambda: scope.open("bent").read(),
        "altered payload, filesystem": lambda: fs.cat_file(URL.replace("/x", "/bent"), 450, 460),
        "altered record": lambda: bent_key.load("torn"),
        "cut payload": lambda: scope.load("cut"),
        "pointer": lambda: scope.load("p"),
        "conflict": lambda: scope.save("x", b"data", expect=7),
        "nothing there": lambda: scope.load("nothing"),
        "users": lambda: list(scope.store.users("shop")),
        "source that breaks": lambda: scope.save("y", _breaking()),
        "metadata": lambda: scope.save("y", b"data", metadata={"x": float("nan")}),
    }


def _breaking() -> Iterator[bytes]:
    yield bytes(9_000_000)
    raise OSError("the source broke")


def _failed(call: Thing) -> BaseException:
    try:
        call()
    except (ArtifactError, OSError) as error:
        return error
    raise AssertionError("the call did not fail")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += [one.__cause__, one.__context__]


def _locals(error: BaseException) -> Iterator[str]:
    """The variables of every frame but this file's own, which holds the secrets, as error trackers show them."""
    for one in _chain(error):
        for frame in traceback.TracebackException.from_exception(one, capture_locals=True).stack:
            if frame.filename != __file__:
                yield from (
                    f"{frame.filename}:{frame.name}: {name}={value}" for name, value in (frame.locals or {}).items()
                )


def test_no_error_tells_a_secret_by_its_text_its_facts_its_pickle_or_its_traceback(held: Secrets, url: str) -> None:
    for what, call in _failures(held, url).items():
        error = _failed(call)
        for one in _chain(error):
            shown: list[str | bytes] = [str(one), repr(one), repr(vars(one)), repr(one.args)]
            if isinstance(one, ArtifactError):
                shown.append(pickle.dumps(one))
            assert not any(map(held.in_, shown)), what
        assert not held.in_("".join(traceback.format_exception(error))), what
        for text in _locals(error):
            assert not held.in_(text), f"{what} shows a secret: {text[:200]}"


def test_a_frame_that_shows_a_secret_is_caught(held: Secrets, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a data key whose repr tells."""
    monkeypatch.setattr(DataKey, "__repr__", lambda self: f"<DataKey {self.secret.hex()}>")
    with pytest.raises(AssertionError, match="shows a secret"):
        test_no_error_tells_a_secret_by_its_text_its_facts_its_pickle_or_its_traceback(held, url)


@pytest.mark.parametrize("damage", ["{}x", "{}=", "+{}", "{}\n", "{},", "{},{}", "v1{}", "{} {}", "\0{}", "ü{}"])
def test_keys_that_are_refused_are_not_quoted(held: Secrets, url: str, damage: str, tmp_path: Path) -> None:
    spoilt = damage.format(held.keys, held.keys)
    file = tmp_path / "keys"
    file.write_text(spoilt.replace("\n", ""))
    file.chmod(0o600)
    for keys in (spoilt, file):
        try:
            ArtifactStore(url, keys=keys)
        except InvalidConfig as error:
            refused = error
        else:
            continue  # a line break at the end is none of the key's
        for one in _chain(refused):
            assert not held.in_(str(one)) and not held.in_(repr(one))
        assert not held.in_("".join(traceback.format_exception(refused)))


# logs


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every logger of this process tells all it can."""
    caplog.set_level(logging.DEBUG)
    for name in (*logging.root.manager.loggerDict, "artifactfs", "fsspec", "s3fs", "botocore", "aiobotocore"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def _told(logged: pytest.LogCaptureFixture) -> list[str]:
    texts = [logged.text]
    for record in logged.records:
        texts += [record.getMessage(), repr(record.args), repr(record.exc_text)]
    return texts


def test_no_log_tells_a_secret(held: Secrets, moto: Server, tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    for url, options in ((moto.bucket(), moto.storage_options), (str(tmp_path), {}), ("memory://logged", {})):
        with ArtifactStore(url, **options, **held.settings) as store:
            scope = store.scope("shop", "alice", "s1")
            scope.save("x", b"data")
            scope.save("x", iter([bytes(9_000_000)]))
            scope.load("x")
            scope.remove("x")
            scope.delete("x", 0)
            list(scope.history("x"))
        fs = filesystem(url, **options, **held.settings)
        fs.pipe_file(URL, b"data")
        assert fs.cat_file(URL) == b"data"
        with pytest.raises(IntegrityError):
            filesystem(url, **options, scope_secret=held.scope_secret, keys=held.wrong).cat_file(URL)
        fs.store.close()
    assert "PutObject" in logged.text, "the loggers of the client below were heard"
    assert not any(map(held.in_, _told(logged)))


def test_a_log_that_tells_a_secret_is_caught(held: Secrets, logged: pytest.LogCaptureFixture) -> None:
    """The control."""
    logging.getLogger("artifactfs.somewhere").debug("opened with %s", held.settings)
    assert any(map(held.in_, _told(logged)))
