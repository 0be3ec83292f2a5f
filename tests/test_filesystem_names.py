"""Each path that the filesystem returns can be given back to it, for every name of the corpus."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifactfs.errors import InvalidName
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.refs import Ref
from artifactfs.store import Scope

from .test_escapes import CORPUS
from .test_filesystem import ATTACKS

S = "shop/alice/s1"
MORE = ["a@3@4", "latest@latest", "@latest/@latest", "x@2026-11-20T00:00:00Z", "user:@3", "user:a/b@1", "%2F", "a%2Fb"]
MORE += [
    "%41",
    "[!a]",
    "{x}",
    "a*",
    "a?b",
    "\u3000",
    "a\u3000",
    ":a",
    "a::b",
    "versions/3",
    "zarr.json",
    "@prod/x",
    "x@1/y",
]
NAMES = list(dict.fromkeys([*CORPUS, *ATTACKS, *MORE]))
_fresh = itertools.count()


class Saved:
    """An artifact of two versions, saved by the store beside a plain one, and the one path that a listing returns of it."""

    def __init__(self, fs: ArtifactFileSystem, scope: Scope, name: str, local: Path) -> None:
        self.fs, self.scope, self.name = fs, scope, name
        self.folder = "shop/alice/user" if name.startswith("user:") else S
        scope.save("plain", b"plain")
        for data in (b"first", b"second"):
            scope.save(name, data)
        [self.path] = [path for path in fs.find(self.folder) if path != f"{S}/plain"]
        self.below = self.path.removeprefix(f"{self.folder}/")
        local.mkdir()
        self.local = str(local / "file")


def fs_of(kind: str, tmp_path: Path) -> ArtifactFileSystem:
    if kind == "memory":
        return ArtifactFileSystem(f"memory://names-{next(_fresh)}", skip_instance_cache=True)
    return ArtifactFileSystem(str(tmp_path / f"store{next(_fresh)}"), durability="none", skip_instance_cache=True)


def each_saved(kind: str, tmp_path: Path) -> Iterator[Saved]:
    count = 0
    for number, name in enumerate(NAMES[:: 1 if kind == "memory" else 4]):
        fs = fs_of(kind, tmp_path)
        scope = fs.store.scope("shop", "alice", "s1")
        try:
            scope.save(name, b"")
            scope.delete(name)
            fs = fs_of(kind, tmp_path)
            scope = fs.store.scope("shop", "alice", "s1")
        except InvalidName:
            continue  # no store holds it
        count += 1
        yield Saved(fs, scope, name, tmp_path / f"local{number}")
    assert count > (200 if kind == "memory" else 50)


def local_bytes(saved: Saved) -> bytes:
    return Path(saved.local).read_bytes()


def move(fs: Any, source: str, goal: str) -> Any:
    return fs.mv(source, goal)


def descended(saved: Saved) -> str:
    """The path, found by walking down from folder to folder."""
    at = saved.folder
    for piece in saved.below.split("/"):
        [at] = [path for path in saved.fs.ls(at, detail=False) if path == f"{at}/{piece}"]
    return at


def walked(saved: Saved) -> list[str]:
    found = (f"{at}/{name}" for at, _, names in saved.fs.walk(saved.folder) for name in names)
    return [path for path in found if path != f"{S}/plain"]


def after(_: object, *seen: object) -> object:
    """What is seen after something was done."""
    return seen[0] if len(seen) == 1 else seen


LOOKS: dict[str, tuple[Callable[[Saved], Any], Callable[[Saved], Any]]] = {
    "is spelled so": (lambda saved: Ref.parse(saved.path).path, lambda saved: saved.path),
    "url and back": (
        lambda saved: saved.fs._strip_protocol(saved.fs.unstrip_protocol(saved.path)),
        lambda saved: saved.path,
    ),
    "info": (lambda saved: saved.fs.info(saved.path)["name"], lambda saved: saved.path),
    "version": (lambda saved: saved.fs.info(saved.path)["version"], lambda saved: 1),
    "ls": (lambda saved: saved.fs.ls(saved.path, detail=False), lambda saved: [saved.path]),
    "ls down to it": (descended, lambda saved: saved.path),
    "walk": (walked, lambda saved: [saved.path]),
    "find": (lambda saved: saved.fs.find(saved.path), lambda saved: [saved.path]),
    "glob": (lambda saved: saved.fs.glob(saved.path), lambda saved: [saved.path]),
    "glob of it escaped": (lambda saved: saved.fs.glob(glob.escape(saved.path)), lambda saved: [saved.path]),
    "glob below": (lambda saved: saved.path in saved.fs.glob(f"{saved.folder}/**"), lambda saved: True),
    "kinds": (
        lambda saved: (saved.fs.isfile(saved.path), saved.fs.exists(saved.path), saved.fs.isdir(saved.path)),
        lambda saved: (True, True, False),
    ),
    "open": (lambda saved: saved.fs.open(saved.path).read(), lambda saved: b"second"),
    "cat": (lambda saved: saved.fs.cat(saved.path), lambda saved: b"second"),
    "cat by url": (lambda saved: saved.fs.cat(saved.fs.unstrip_protocol(saved.path)), lambda saved: b"second"),
    "a version": (lambda saved: saved.fs.cat(f"{saved.path}@0"), lambda saved: b"first"),
    "a view": (lambda saved: saved.fs.cat(f"{saved.folder}/@latest/{saved.below}"), lambda saved: b"second"),
    "fsspec.open": (
        lambda saved: fsspec.open(f"artifact://{saved.path}", root=saved.fs.store.url).open().read(),
        lambda saved: b"second",
    ),
    "a chained url": (
        lambda saved: fsspec.open(f"artifact://{saved.path}@0::{saved.fs.store.url}").open().read(),
        lambda saved: b"first",
    ),
    "a mapping": (lambda saved: saved.fs.get_mapper(saved.folder)[saved.below], lambda saved: b"second"),
}
"""What is asked of the path, and the answer."""

CHANGES: dict[str, tuple[Callable[[Saved], Any], Callable[[Saved], Any]]] = {
    "copied": (
        lambda saved: after(saved.fs.cp(saved.path, "shop/alice/s2/x"), saved.fs.cat("shop/alice/s2/x")),
        lambda saved: b"second",
    ),
    "copied into a folder": (
        lambda saved: after(saved.fs.cp(saved.path, "shop/alice/s3/"), saved.fs.find("shop/alice/s3")),
        lambda saved: [f"shop/alice/s3/{saved.below.rpartition('/')[2]}"],
    ),
    "copied with its folder": (
        lambda saved: after(
            saved.fs.cp(saved.folder, "shop/bob/s1", recursive=True),
            set(saved.fs.find("shop/bob/s1")) - {"shop/bob/s1/plain"},
        ),
        lambda saved: {f"shop/bob/s1/{saved.below}"},
    ),
    "got": (lambda saved: after(saved.fs.get(saved.path, saved.local), local_bytes(saved)), lambda saved: b"second"),
    "got as a file": (
        lambda saved: after(saved.fs.get_file(f"{saved.path}@0", saved.local), local_bytes(saved)),
        lambda saved: b"first",
    ),
    "put": (
        lambda saved: after(saved.fs.put(saved.local, saved.path), saved.scope.load(saved.name).data),
        lambda saved: b"first",
    ),
    "copied onto": (
        lambda saved: after(saved.fs.cp(f"{S}/plain", saved.path), saved.scope.load(saved.name).data),
        lambda saved: b"plain",
    ),
    "put as a file": (
        lambda saved: after(saved.fs.put_file(saved.local, saved.path), saved.scope.load(saved.name).data),
        lambda saved: b"first",
    ),
    "moved away": (
        lambda saved: after(
            move(saved.fs, saved.path, "shop/alice/s4/x"), saved.fs.cat("shop/alice/s4/x"), saved.fs.exists(saved.path)
        ),
        lambda saved: (b"first", False),
    ),
    "moved back": (
        lambda saved: after(
            move(saved.fs, "shop/alice/s4/x", saved.path),
            saved.scope.load(saved.name).data,
            saved.fs.exists("shop/alice/s4/x"),
        ),
        lambda saved: (b"first", False),
    ),
    "removed": (
        lambda saved: after(saved.fs.rm(saved.path), saved.fs.exists(saved.path), saved.fs.cat(f"{saved.path}@0")),
        lambda saved: (False, b"first"),
    ),
    "written": (
        lambda saved: after(saved.fs.write_bytes(saved.path, b"new"), saved.scope.load(saved.name).data),
        lambda saved: b"new",
    ),
    "removed with what is below": (
        lambda saved: after(saved.fs.rm(saved.path, recursive=True), saved.fs.exists(saved.path)),
        lambda saved: False,
    ),
    "and nothing else": (lambda saved: saved.scope.load("plain").data, lambda saved: b"plain"),
}
"""What is done by the path, one after the other, and what is to be seen then."""


def failures(kind: str, tmp_path: Path) -> dict[str, list[str]]:
    failed: dict[str, list[str]] = {}
    for saved in each_saved(kind, tmp_path):
        for what, (done, wanted) in {**LOOKS, **CHANGES}.items():
            try:
                fits = done(saved) == wanted(saved)
            except Exception as error:
                failed.setdefault(f"{what}: {error!r:.200}", []).append(saved.name)
            else:
                if not fits:
                    failed.setdefault(what, []).append(saved.name)
    return failed


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_the_path_that_a_listing_returns_does_everything_that_a_path_does(kind: str, tmp_path: Path) -> None:
    assert failures(kind, tmp_path) == {}


def test_a_listing_that_returned_names_as_they_are_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The control: names are not spelled where a listing makes paths of them."""
    monkeypatch.setattr("artifactfs.filesystem.tree.spell", lambda name: name)
    for number, name in enumerate(("x@3", "100%", "a*")):
        fs = fs_of("memory", tmp_path)
        saved = Saved(fs, fs.store.scope("shop", "alice", "s1"), name, tmp_path / f"local{number}")
        with pytest.raises((AssertionError, ValueError, FileNotFoundError)):
            for done, wanted in LOOKS.values():
                assert done(saved) == wanted(saved)


OTHERWISE = {
    "shop/alice/s 1#/C#/a b": "shop/alice/s 1%23/C%23/a b",
    "shop/alice/s1/%61/%62": "shop/alice/s1/a/b",
    "shop/alice/s1/a%2Fb": "shop/alice/s1/a/b",
    "shop/alice/s1/user:a/b": "shop/alice/user/a/b",
    "shop/alice/use%72/a/b": "shop/alice/%75ser/a/b",
    "shop/alice/s1/a\\b/c": "shop/alice/s1/a%5Cb/c",
    "shop/alice/s1/\ta/b": "shop/alice/s1/%09a/b",
}
"""Paths as they may be typed, and as they are listed."""


@pytest.mark.parametrize(("typed", "listed"), OTHERWISE.items())
def test_a_path_that_is_typed_in_another_spelling_is_the_same_for_every_call(
    typed: str, listed: str, tmp_path: Path
) -> None:
    fs = fs_of("memory", tmp_path)
    fs.pipe(typed, b"data")
    folder, name = listed.rsplit("/", 1)
    for path in (typed, f"artifact://{typed}", listed):
        assert fs.find(path) == fs.glob(path) == fs.ls(path, detail=False) == fs.expand_path(path) == [listed]
        assert fs.info(path)["name"] == listed and fs.cat(path) == b"data" == fs.open(path).read()
        assert fs.open(path).path == listed
    above = typed.rsplit("/", 1)[0] if typed.count("/") > 3 else folder
    for path in (above, f"{above}/", f"artifact://{above}", folder):
        assert fs.find(path) == fs.ls(path, detail=False) == fs.glob(f"{path.rstrip('/')}/*") == [listed]
        assert list(fs.walk(path)) == [(folder, [], [name])] and fs.isdir(path)
        assert dict(fs.get_mapper(path)) == {name: b"data"} and fs.du(path) == 4
        assert fs.expand_path(path, recursive=True) == [folder, listed]
    fs.cp(f"{above}/", "shop/bob/s1/copy/", recursive=True)
    assert fs.find("shop/bob") == [f"shop/bob/s1/copy/{name}"]
    fs.get(f"{above}/", str(tmp_path / "out") + "/", recursive=True)
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"data"]
    fs.put(str(tmp_path / "out") + "/", f"{above}/", recursive=True)
    assert fs.find(folder) == [listed] and fs.info(listed)["version"] == 1
    fs.mv(above, "shop/bob/s2/moved", recursive=True)
    assert fs.find("shop/bob/s2") == [f"shop/bob/s2/moved/{name}"] and fs.find("shop/alice") == []
