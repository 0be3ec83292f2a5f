"""Versions and views through `artifact://`: one artifact or a folder of them, now and as they were at a time."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifactfs.errors import ImmutableVersion, InvalidRef
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.operations.scope import ScopeOperations
from artifactfs.protocol.env import Env

S = "shop/alice/s1"
BEGINNING = datetime(2040, 1, 1, tzinfo=UTC)
"""Later than any clock that these tests run by, so that the stamps of records are the tests' own."""

_fresh = itertools.count()


def moment(seconds: float) -> str:
    return (BEGINNING + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Clock:
    """The wall clock of a filesystem's store, in seconds from `BEGINNING`."""

    def __init__(self, fs: ArtifactFileSystem) -> None:
        self.now = 0.0
        wall = lambda: (BEGINNING + timedelta(seconds=self.now)).timestamp()  # noqa: E731
        fs.store._core.env = Env(wall=wall, give_up=float("inf"))


@pytest.fixture(params=["memory", "local"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactFileSystem:
    if request.param == "memory":
        return ArtifactFileSystem(f"memory://views-{next(_fresh)}", skip_instance_cache=True)
    return ArtifactFileSystem(str(tmp_path / "store"), durability="none", skip_instance_cache=True)


@pytest.fixture
def told(fs: ArtifactFileSystem) -> ArtifactFileSystem:
    """A session with a history: at 1 all is written, at 2 changed, at 3 taken away or new."""
    clock = Clock(fs)
    clock.now = 1
    fs.pipe(
        {
            f"{S}/{name}": b"first " + name.encode()
            for name in ("a.csv", "b.csv", "reports/q1.csv", "reports/2026/q3.csv")
        }
    )
    fs.pipe(f"{S}/reports", b"a file, too")
    fs.pipe("shop/alice/user/logo", b"first logo")
    clock.now = 2
    fs.pipe({f"{S}/{name}": b"second " + name.encode() for name in ("a.csv", "reports/q1.csv")})
    fs.pipe("shop/alice/user/logo", b"second logo")
    clock.now = 3
    fs.rm(f"{S}/a.csv")
    fs.store.scope("shop", "alice", "s1").delete("b.csv")
    fs.rm(f"{S}/reports/2026/q3.csv")
    fs.pipe(f"{S}/new.csv", b"new")
    return fs


# one artifact


FORMS = {
    "first": ["a.csv@0", "@0/a.csv", "a.csv@-2", "@-2/a.csv", f"a.csv@{moment(1)}", f"@{moment(1.5)}/a.csv"],
    "second": ["a.csv@1", "@1/a.csv", "a.csv@-1", "@-1/a.csv", f"a.csv@{moment(2)}", f"@{moment(2.999999)}/a.csv"],
}


@pytest.mark.parametrize(("word", "form"), [(word, form) for word, forms in FORMS.items() for form in forms])
def test_a_version_is_read_by_each_of_its_forms(told: ArtifactFileSystem, word: str, form: str) -> None:
    """Of an artifact that is removed by now."""
    path, data = f"{S}/{form}", f"{word} a.csv".encode()
    assert told.cat_file(path) == data == told.cat(f"artifact://{path}")
    assert told.cat_file(path, 1, -1) == data[1:-1] == told.cat_ranges([path], 1, [-1])[0]
    with told.open(path) as file, fsspec.open(f"artifact://{path}", root=told.store.url).open() as other:
        assert file.read() == data == other.read()
    info = told.info(path)
    assert (info["name"], info["size"], info["type"]) == (path, len(data), "file")
    assert info["version"] == ["first", "second"].index(word)
    assert told.isfile(path) and told.exists(path) and not told.isdir(path)
    assert told.ls(path, detail=False) == [path] == told.find(path) == told.glob(path)


@pytest.mark.parametrize(
    "form", ["a.csv@latest", "@latest/a.csv", "a.csv", f"a.csv@{moment(3)}", f"@{moment(9)}/a.csv"]
)
def test_what_was_removed_is_not_there_from_then_on(told: ArtifactFileSystem, form: str) -> None:
    assert not told.exists(f"{S}/{form}") and not told.isfile(f"{S}/{form}") and told.find(f"{S}/{form}") == []
    for read in (told.cat_file, told.open, told.info, told.ls, told.ukey, told.modified):
        with pytest.raises(FileNotFoundError, match=r"a\.csv"):
            read(f"{S}/{form}")


@pytest.mark.parametrize(
    "form", ["a.csv@2", "a.csv@9", "@-3/a.csv", f"@{moment(0.5)}/a.csv", "b.csv@0", f"b.csv@{moment(1)}"]
)
def test_what_never_was_or_is_deleted_is_not_there(told: ArtifactFileSystem, form: str) -> None:
    assert not told.exists(f"{S}/{form}") and told.find(f"{S}/{form}") == []
    for read in (told.cat_file, told.open, told.info, told.ls):
        with pytest.raises(FileNotFoundError):
            read(f"{S}/{form}")


def test_a_name_with_slashes_and_one_of_the_user_scope_have_versions_like_any(told: ArtifactFileSystem) -> None:
    for form in ("reports/q1.csv@0", "@0/reports/q1.csv", f"@{moment(1)}/reports/q1.csv", "reports/q1.csv@-2"):
        assert told.cat(f"{S}/{form}") == b"first reports/q1.csv"
    for form in ("s1/user:logo@0", "user/logo@0", "user/@0/logo", "s1/@0/user:logo", f"user/@{moment(1)}/logo"):
        assert told.cat(f"shop/alice/{form}") == b"first logo"
    assert told.find(f"shop/alice/user/@{moment(1)}") == [f"shop/alice/user/@{moment(1)}/logo"]


def test_the_agent_kits_own_form_is_read_and_never_written(told: ArtifactFileSystem) -> None:
    session, user = "apps/shop/users/alice/sessions/s1/artifacts", "apps/shop/users/alice/artifacts"
    for path, data in {
        f"{session}/a.csv/versions/0": b"first a.csv",
        f"{session}/reports/q1.csv/versions/1": b"second reports/q1.csv",
        f"{user}/logo/versions/0": b"first logo",
        f"{user}/user:logo/versions/1": b"second logo",
    }.items():
        assert told.cat_file(path) == data
        with fsspec.open(f"artifact://{path}::{told.store.url}") as file:
            assert file.read() == data
        assert told.info(path)["size"] == len(data) and told.isfile(path)
        for write in (lambda path: told.open(path, "wb"), lambda path: told.pipe_file(path, b"x"), told.rm_file):
            with pytest.raises(ImmutableVersion, match="never changes"):
                write(path)
    told.pipe(f"{S}/table.csv", b"x,y\n1,2\n")
    told.pipe(f"{S}/table.csv", b"x,y\n5,6\n")
    told.pipe(f"{S}/table.csv", b"x,y\n7,8\n")
    url = f"artifact://{session}/table.csv/versions/1"
    assert pd.read_csv(url, storage_options={"root": told.store.url}).y.tolist() == [6]
    with pytest.raises(FileNotFoundError, match="no version 7"):
        told.open(f"{session}/table.csv/versions/7")


# a folder at a time


def test_a_session_is_seen_as_it_was(told: ArtifactFileSystem) -> None:
    then = f"{S}/@{moment(1)}"
    files = {f"{then}/{name}": b"first " + name.encode() for name in ("a.csv", "reports/2026/q3.csv", "reports/q1.csv")}
    files[f"{then}/reports"] = b"a file, too"
    assert told.find(then) == sorted(files) and told.cat(then, recursive=True, on_error="omit") == files
    assert told.ls(then, detail=False) == [f"{then}/a.csv", f"{then}/reports"]
    assert {(one["name"], one["type"], one["size"]) for one in told.ls(then)} == {
        (f"{then}/a.csv", "file", 11),
        (f"{then}/reports", "file", 11),
        (f"{then}/reports", "directory", 0),
    }
    assert told.ls(f"{then}/reports", detail=False) == [f"{then}/reports/2026", f"{then}/reports/q1.csv"]
    assert told.glob(f"{then}/*.csv") == [f"{then}/a.csv"]
    assert told.glob(f"{then}/**/q*.csv") == [f"{then}/reports/2026/q3.csv", f"{then}/reports/q1.csv"]
    assert {f"{folder}/{name}" for folder, _, names in told.walk(then) for name in names} == set(files)
    assert told.isdir(then) and told.exists(then) and told.info(then) == {"name": then, "size": 0, "type": "directory"}
    assert told.isdir(f"{then}/reports/2026") and told.isfile(f"{then}/reports")
    assert told.du(then) == sum(map(len, files.values()))
    for path, data in files.items():
        with told.open(path) as file:
            assert file.read() == data and told.size(path) == len(data)
    detailed = told.find(then, detail=True)
    assert {path: (info["size"], info["version"]) for path, info in detailed.items()} == {
        path: (len(data), 0) for path, data in files.items()
    }
    later = f"{S}/@{moment(3)}"
    assert told.find(later) == [f"{later}/new.csv", f"{later}/reports", f"{later}/reports/q1.csv"]
    assert told.cat(f"{later}/reports/q1.csv") == b"second reports/q1.csv" and not told.exists(f"{later}/reports/2026")


def test_the_newest_of_all_is_a_view_too(told: ArtifactFileSystem) -> None:
    view = f"{S}/@latest"
    assert [path.replace("/@latest", "") for path in told.find(view)] == told.find(S)
    assert {path.replace("/@latest", ""): told.cat(path) for path in told.find(view)} == told.cat(told.find(S))
    assert told.isdir(view) and told.glob(f"{view}/*.csv") == [f"{view}/new.csv"]


def test_before_its_first_save_there_is_nothing(told: ArtifactFileSystem) -> None:
    before = f"{S}/@{moment(0.999)}"
    assert not told.exists(before) and not told.isdir(before) and not told.isfile(before)
    assert told.find(before) == [] == told.glob(f"{before}/*") == list(told.walk(before)) and told.du(before) == 0
    for look in (told.ls, told.info):
        with pytest.raises(FileNotFoundError, match="2040"):
            look(before)


def test_a_time_has_any_offset_and_fraction_and_is_one_moment(told: ArtifactFileSystem) -> None:
    for text in ("2040-01-01T00:00:01Z", "2040-01-01t02:00:01.5+02:00", "2039-12-31T19:00:01.999999-05:00"):
        assert told.cat(f"{S}/@{text}/a.csv") == b"first a.csv" == told.cat(f"{S}/a.csv@{text}")
        assert len(told.find(f"{S}/@{text}")) == 4
        for path in told.find(f"{S}/@{text}"):
            assert told.cat_file(path) == told.cat_file(path.replace(path.split("/")[3], f"@{moment(1.2)}"))


def test_a_session_as_it_was_is_copied_out_to_a_disk_and_to_another_session(
    told: ArtifactFileSystem, tmp_path: Path
) -> None:
    """Without the artifact whose name is a folder's, which no disk holds."""
    told.store.scope("shop", "alice", "s1").delete("reports")
    then = f"{S}/@{moment(1)}"
    names = ["a.csv", "reports/2026/q3.csv", "reports/q1.csv"]
    told.get(then + "/", str(tmp_path / "out") + "/", recursive=True)
    got = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert got == {name: b"first " + name.encode() for name in names}
    told.cp(then + "/", "shop/alice/restored/", recursive=True)
    assert told.find("shop/alice/restored") == [f"shop/alice/restored/{name}" for name in names]
    assert told.cat(told.find("shop/alice/restored")) == {
        f"shop/alice/restored/{name}": b"first " + name.encode() for name in names
    }
    told.cp(f"{then}/reports/", f"{S}/reports/", recursive=True)
    assert told.cat(f"{S}/reports/q1.csv") == b"first reports/q1.csv" == told.cat(f"{S}/reports/q1.csv@0")
    assert told.cat(f"{S}/reports/2026/q3.csv") == b"first reports/2026/q3.csv"


def test_a_view_is_a_mapping_and_many_files_and_takes_no_writes(told: ArtifactFileSystem) -> None:
    then = f"{S}/@{moment(2)}"
    mapping = fsspec.get_mapper(f"artifact://{then}", root=told.store.url)
    assert set(mapping) == {"a.csv", "reports", "reports/q1.csv", "reports/2026/q3.csv"}
    assert mapping["a.csv"] == b"second a.csv" and "new.csv" not in mapping
    files = fsspec.open_files(f"artifact://{then}/*.csv", root=told.store.url)
    with files as opened:
        assert [file.read() for file in opened] == [b"second a.csv"]
    before = told.find("")
    with pytest.raises(PermissionError, match="never changes"):
        mapping["x"] = b"x"
    for write in (
        lambda path: told.open(path, "wb"),
        lambda path: told.pipe(path, b"x"),
        lambda path: told.rm(path),
        lambda path: told.touch(path),
        lambda path: told.cp(f"{S}/new.csv", path),
        lambda path: told.mv(path, f"{S}/moved"),
    ):
        with pytest.raises(PermissionError, match="never changes"):
            write(f"{then}/a.csv")
    with pytest.raises(PermissionError, match="never changes"):
        told.rm(then, recursive=True)
    assert told.find("") == before


# a number over a folder


FOLDERS = ["@0/folder", "@-1/folder", "folder@0", "folder@-1", "@7/folder"]


def looks(fs: ArtifactFileSystem, local: Path) -> dict[str, Callable[[str], Any]]:
    root = fs.store.url
    return {
        "info": fs.info,
        "exists": fs.exists,
        "isdir": fs.isdir,
        "isfile": fs.isfile,
        "ls": fs.ls,
        "ls names": lambda path: fs.ls(path, detail=False),
        "find": fs.find,
        "find details": lambda path: fs.find(path, detail=True),
        "glob": fs.glob,
        "glob below": lambda path: fs.glob(f"{path}/*"),
        "walk": lambda path: list(fs.walk(path)),
        "du": fs.du,
        "open": fs.open,
        "cat_file": fs.cat_file,
        "a slice": lambda path: fs.cat_file(path, 0, 1),
        "cat_ranges": lambda path: fs.cat_ranges([path], 0, 1, on_error="raise"),
        "cat": lambda path: fs.cat(path, recursive=True, on_error="omit"),
        "ukey": fs.ukey,
        "modified": fs.modified,
        "get": lambda path: fs.get(path, str(local / "got"), recursive=True),
        "get_file": lambda path: fs.get_file(path, str(local / "got")),
        "cp": lambda path: fs.cp(path, f"{S}/copy", recursive=True),
        "mv": lambda path: fs.mv(path, f"{S}/moved", recursive=True),
        "rm": lambda path: fs.rm(path, recursive=True),
        "fsspec.open": lambda path: fsspec.open(f"artifact://{path}", root=root).open(),
        "fsspec.open_files": lambda path: fsspec.open_files(f"artifact://{path}/*", root=root),
        "get_mapper": lambda path: list(fsspec.get_mapper(f"artifact://{path}", root=root)),
    }


@pytest.mark.parametrize("look", looks(ArtifactFileSystem("memory://views"), Path()))
def test_a_number_over_a_folder_is_refused_and_says_why(fs: ArtifactFileSystem, tmp_path: Path, look: str) -> None:
    fs.pipe({f"{S}/folder/a": b"a", f"{S}/folder/b": b"b"})
    use = looks(fs, tmp_path)[look]
    for folder in FOLDERS:
        if "folder@" in folder and look in {"glob below", "fsspec.open_files"}:
            continue  # with more after it, an "@" is one of the folder's name
        with pytest.raises(InvalidRef, match=r"numbers of their own.*/@latest/, a tag or a time"):
            use(f"{S}/{folder}")
    whole_session = {
        "info",
        "exists",
        "isdir",
        "ls",
        "find",
        "glob",
        "walk",
        "du",
        "cat",
        "get",
        "get_file",
        "cp",
        "mv",
        "rm",
        "get_mapper",
    }
    if look in whole_session:
        with pytest.raises(InvalidRef, match="numbers of their own"):
            use(f"{S}/@0")
    assert fs.find("") == [f"{S}/folder/a", f"{S}/folder/b"] and not (tmp_path / "got").exists()


# while others save


def test_a_version_and_a_session_at_a_time_stay_as_they_are_while_others_save(fs: ArtifactFileSystem) -> None:
    """Before, during and after 20 saves at the same time, and removals between them."""
    clock = Clock(fs)
    for second in (1, 2):
        clock.now = second
        fs.pipe({f"{S}/x": b"%d" % second, f"{S}/reports/y": b"y%d" % second})
    then = f"{S}/@{moment(2)}"
    clock.now = 3
    gate = threading.Barrier(21)

    def save(number: int) -> None:
        gate.wait()
        fs.pipe({f"{S}/x": b"later %d" % number, f"{S}/new{number}": b"new"})
        if number % 5 == 0:
            with contextlib.suppress(FileNotFoundError):
                fs.rm(f"{S}/x")

    with ThreadPoolExecutor(20) as pool:
        saves = [pool.submit(save, number) for number in range(20)]
        reader = fs.open(f"{S}/x@1")
        gate.wait()
        over = False
        while not over:
            over = all(one.done() for one in saves)  # once more when all are
            assert fs.find(then) == [f"{then}/reports/y", f"{then}/x"]
            assert fs.cat([f"{then}/x", f"{S}/x@1", f"{S}/@0/x"]) == {
                f"{then}/x": b"2",
                f"{S}/x@1": b"2",
                f"{S}/@0/x": b"1",
            }
            assert fs.cat_file(f"{then}/reports/y") == b"y2"
            reader.seek(0)
            assert reader.read() == b"2"
        for one in saves:
            one.result()
    assert len(fs.store.scope("shop", "alice", "s1").versions("x")) == 22 and len(fs.find(f"{S}/@latest")) >= 21


# a folder at every time, against a model


SPELLED = {"x@3": "x%403", "100%": "100%25", "C#": "C%23", "a*b": "a%2Ab", "q?/r": "q%3F/r"}
NAMES = ["a", "a.csv", "a/b", "a/b/c", "a/c", "reports/q1.csv", "reports", "é/日本", "con", "!7", *SPELLED]
ACTIONS = ["save"] * 4 + ["remove", "delete", "delete the newest", "delete the first"]
Step = tuple[bool, str, str, int]
steps = st.lists(
    st.tuples(st.booleans(), st.sampled_from(NAMES), st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=14
)


class History:
    """What was done to a session and to its user's scope, and what is left of it: name -> (number, second, bytes)."""

    def __init__(self) -> None:
        self.fs = ArtifactFileSystem(f"memory://views-{next(_fresh)}", skip_instance_cache=True)
        self.clock = Clock(self.fs)
        self.left: dict[tuple[bool, str], list[tuple[int, float, bytes | None]]] = {}

    def act(self, of_user: bool, name: str, what: str, pause: int) -> None:
        self.clock.now += pause
        scope = self.fs.store.scope("shop", "alice", None if of_user else "s1")
        left = self.left.setdefault((of_user, name), [])
        if what == "save":
            data = f"{name} {len(left)} {self.clock.now}".encode()
            left.append((scope.save(name, data).version, self.clock.now, data))
        elif what == "remove" and left and left[-1][2] is not None:
            left.append((scope.remove(name).version, self.clock.now, None))
        elif what == "delete" and left:
            scope.delete(name)
            left.clear()
        elif what.startswith("delete the") and left:
            scope.delete(name, left.pop(-1 if what.endswith("newest") else 0)[0])

    def at(self, seconds: float, of_user: bool) -> dict[str, tuple[int, bytes | None]]:
        """Path below the view -> number and bytes of what was there then."""
        found = {}
        for (scope, name), left in self.left.items():
            then = [(number, data) for number, second, data in left if second <= seconds]
            if scope == of_user and then and then[-1][1] is not None:
                found[SPELLED.get(name, name)] = then[-1]
        return found


def check(history: History, seconds: float, of_user: bool) -> None:
    fs = history.fs
    view = f"shop/alice/{'user' if of_user else 's1'}/@{moment(seconds)}"
    there = {f"{view}/{path}": version for path, version in history.at(seconds, of_user).items()}
    folders = {above for path in there for above in above_of(path, view)}
    assert fs.find(view) == sorted(there)
    assert fs.cat(list(there)) == {path: data for path, (_, data) in there.items()} if there else True
    details = fs.find(view, detail=True)
    assert {path: info["version"] for path, info in details.items()} == {path: n for path, (n, _) in there.items()}
    everything = fs.find(view, withdirs=True, detail=True)
    assert set(everything) == there.keys() | folders | ({view} if there else set())
    walked = {f"{at}/{name}" for at, _, files in fs.walk(view) for name in files}
    assert walked == there.keys()
    assert fs.exists(view) == fs.isdir(view) == bool(there)
    for folder in folders:
        inside = {path for path in there.keys() | folders if path.rpartition("/")[0] == folder}
        assert set(fs.ls(folder, detail=False)) == inside
        assert fs.isdir(folder) == (folder not in there) and fs.exists(folder)
    for path, (number, data) in there.items():
        assert fs.isfile(path) and fs.info(path)["version"] == number
        base, _, name = path.partition(f"/@{moment(seconds)}/")
        assert fs.cat_file(f"{base}/{name}@{moment(seconds)}") == data
    if there:
        top = {path.removeprefix(f"{view}/").split("/")[0] for path in there}
        assert set(fs.ls(view, detail=False)) == {f"{view}/{name}" for name in top}
        assert {info["name"] for info in fs.ls(view)} == {f"{view}/{name}" for name in top}


def above_of(path: str, view: str) -> Iterator[str]:
    while (path := path.rpartition("/")[0]) != view:
        yield path


@given(steps)
@example([(False, name, "save", 1) for name in NAMES] + [(False, name, "remove", 1) for name in NAMES])
@example([(False, "a/b", what, 1) for what in ("save", "remove", "save", "delete the newest", "save", "delete")])
def test_at_every_time_a_view_shows_what_was_there_then(done: list[Step]) -> None:
    history = History()
    for step in done:
        history.act(*step)
    for second in range(int(history.clock.now) + 1):
        for of_user in (False, True):
            check(history, second, of_user)
    for of_user in (False, True):
        check(history, history.clock.now + 0.5, of_user)


@pytest.mark.parametrize("blind", ["names", "overview", "stat"])
def test_a_view_that_forgets_its_time_would_be_caught(monkeypatch: pytest.MonkeyPatch, blind: str) -> None:
    """The control: the same history, seen by a filesystem whose store tells what is newest."""
    real = getattr(ScopeOperations, blind)

    def newest(scope: ScopeOperations, *args: Any, **kwargs: Any) -> Any:
        args = tuple(None if isinstance(one, datetime) else one for one in args)
        return real(scope, *args, **{**kwargs, **({"at": None} if "at" in kwargs else {})})

    monkeypatch.setattr(ScopeOperations, blind, newest)
    with pytest.raises(AssertionError):
        test_at_every_time_a_view_shows_what_was_there_then.hypothesis.inner_test(  # type: ignore[attr-defined]
            [(False, "a", "save", 1), (False, "a", "save", 1), (False, "b", "save", 1)]
        )


def test_details_of_a_pattern_are_of_all_that_fits_it(told: ArtifactFileSystem) -> None:
    """Also of an artifact whose name is a folder's, and of nothing but it."""
    then = f"{S}/@{moment(1)}"
    for pattern in (
        f"{S}/**",
        f"{S}/report?",
        f"{then}/report?",
        f"{then}/**",
        f"{S}/*/q1.csv",
        "shop/*/s1/*",
        "**/q1*",
    ):
        found = told.glob(pattern, detail=True)
        assert list(found) == told.glob(pattern) != []
        for path in found:
            assert path == found[path]["name"] and found[path]["size"] == told.info(path)["size"]
