"""What cannot be meant is refused with the error that fsspec's users expect, and nothing is changed."""

from __future__ import annotations

import errno
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    ArtifactNotFound,
    BackendError,
    BackendUnavailable,
    ImmutableVersion,
    InvalidConfig,
    InvalidName,
    InvalidRef,
    PayloadTooLarge,
    VersionNotFound,
)
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.store_base import keys_below

from . import servers
from .servers import Server

S = "shop/alice/s1"
_fresh = itertools.count()

Use = Callable[[ArtifactFileSystem, Any, Path], Any]

READS: dict[str, Use] = {
    "open": lambda fs, path, local: fs.open(path),
    "open text": lambda fs, path, local: fs.open(path, "r"),
    "cat_file": lambda fs, path, local: fs.cat_file(path),
    "a slice": lambda fs, path, local: fs.cat_file(path, 0, 1),
    "cat": lambda fs, path, local: fs.cat(path),
    "cat_ranges": lambda fs, path, local: fs.cat_ranges([path], 0, 1, on_error="raise"),
    "head": lambda fs, path, local: fs.head(path),
    "read_text": lambda fs, path, local: fs.read_text(path),
    "read_block": lambda fs, path, local: fs.read_block(path, 0, 1),
    "get_file": lambda fs, path, local: fs.get_file(path, str(local / "got")),
    "get": lambda fs, path, local: fs.get(path, str(local / "got")),
    "cp": lambda fs, path, local: fs.cp(path, f"{S}/copy"),
    "cp_file": lambda fs, path, local: fs.cp_file(path, f"{S}/copy"),
    "modified": lambda fs, path, local: fs.modified(path),
    "created": lambda fs, path, local: fs.created(path),
    "sign": lambda fs, path, local: fs.sign(path),
    "fsspec.open": lambda fs, path, local: fsspec.open(f"artifact://{path}::{fs.store.url}").open(),
    "fsspec.open_files": lambda fs, path, local: fsspec.open_files([f"artifact://{path}"], root=fs.store.url)[0].open(),
}
"""Calls that want bytes."""

LOOKS: dict[str, Use] = {
    "info": lambda fs, path, local: fs.info(path),
    "ls": lambda fs, path, local: fs.ls(path),
    "ls names": lambda fs, path, local: fs.ls(path, detail=False),
    "size": lambda fs, path, local: fs.size(path),
    "ukey": lambda fs, path, local: fs.ukey(path),
    "checksum": lambda fs, path, local: fs.checksum(path),
}
"""Calls that want to know what is there."""

ASKS: dict[str, Use] = {
    "exists": lambda fs, path, local: fs.exists(path),
    "isfile": lambda fs, path, local: fs.isfile(path),
    "isdir": lambda fs, path, local: fs.isdir(path),
    "find": lambda fs, path, local: fs.find(path),
    "walk": lambda fs, path, local: list(fs.walk(path)),
    "glob": lambda fs, path, local: fs.glob(path),
    "du": lambda fs, path, local: fs.du(path),
    "mapping": lambda fs, path, local: dict(fs.get_mapper(path)),
}
"""Calls that answer, also where nothing is there."""

WRITES: dict[str, Use] = {
    "open wb": lambda fs, path, local: fs.open(path, "wb").close(),
    "open w": lambda fs, path, local: fs.open(path, "w").close(),
    "open xb": lambda fs, path, local: fs.open(path, "xb").close(),
    "open ab": lambda fs, path, local: fs.open(path, "ab").close(),
    "open gz": lambda fs, path, local: fs.open(path, "wb", compression="gzip").close(),
    "pipe": lambda fs, path, local: fs.pipe(path, b"x"),
    "pipe_file": lambda fs, path, local: fs.pipe_file(path, b"x"),
    "write_text": lambda fs, path, local: fs.write_text(path, "x"),
    "put_file": lambda fs, path, local: fs.put_file(str(local / "local"), path),
    "cp_file to": lambda fs, path, local: fs.cp_file(f"{S}/x", path),
    "touch": lambda fs, path, local: fs.touch(path),
    "touch to keep": lambda fs, path, local: fs.touch(path, truncate=False),
    "rm_file": lambda fs, path, local: fs.rm_file(path),
    "fsspec.open wb": lambda fs, path, local: fsspec.open(f"artifact://{path}::{fs.store.url}", "wb").open().close(),
}
"""Calls that change one artifact."""

MANY: dict[str, Use] = {
    "put": lambda fs, path, local: fs.put(str(local / "local"), path),
    "cp to": lambda fs, path, local: fs.cp(f"{S}/x", path),
    "mv to": lambda fs, path, local: fs.mv(f"{S}/x", path),
    "mv": lambda fs, path, local: fs.mv(path, f"{S}/moved"),
    "rm": lambda fs, path, local: fs.rm(path),
    "rm recursive": lambda fs, path, local: fs.rm(path, recursive=True),
}
"""Calls of many, given one."""

ALL = {**READS, **LOOKS, **ASKS, **WRITES, **MANY}


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://bad-{next(_fresh)}" if request.param == "memory" else str(tmp_path / "store")


@pytest.fixture
def fs(url: str) -> ArtifactFileSystem:
    """An artifact of two versions, and a folder."""
    fs = ArtifactFileSystem(url, skip_instance_cache=True)
    for data in (b"first", b"second"):
        fs.pipe(f"{S}/x", data)
    fs.pipe(f"{S}/reports/q1.csv", b"q1")
    return fs


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/local").write_bytes(b"local")
    return tmp_path / "here"


@pytest.fixture
def unchanged(fs: ArtifactFileSystem, local: Path) -> Iterator[None]:
    """Whatever the test does, nothing of it is in the store or on the disk."""
    before = sorted(keys_below(fs.store, ""))
    yield
    assert sorted(keys_below(fs.store, "")) == before
    assert [path.name for path in local.iterdir()] == ["local"]


def refused(
    fs: ArtifactFileSystem, local: Path, uses: dict[str, Use], path: object, kind: type[Exception], match: str | None
) -> None:
    """Each of *uses* raises an error of *kind*, and nothing else."""
    for use, do in uses.items():
        try:
            with pytest.raises(kind, match=match) as caught:
                do(fs, path, local)
        except BaseException as error:
            error.add_note(f"{use} of {path!r}")
            raise
        if isinstance(caught.value, ArtifactError):
            again = pickle.loads(pickle.dumps(caught.value))
            assert str(again) == str(caught.value) and type(again) is type(caught.value)
        if isinstance(caught.value, FileNotFoundError | IsADirectoryError):
            assert caught.value.errno in (errno.ENOENT, errno.EISDIR)


# what says nothing


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("tail", "match"),
    [
        ("x@01", "plain number.*%40"),
        ("x@-0", "plain number"),
        ("x@2026-13-01T00:00:00Z", "RFC 3339"),
        ("@2026-11-31T00:00:00Z/x", "RFC 3339"),
        ("@1/x@1", "twice"),
        ("..", "%2E"),
        ("../x", "%2E"),
        ("./x", "%2E"),
        ("a//x", "%2F"),
        ("100%", "%25"),
        ("%ff", "UTF-8"),
        ("reports/@3", "after no name"),
    ],
)
def test_what_says_nothing_says_how_it_is_written(fs: ArtifactFileSystem, local: Path, tail: str, match: str) -> None:
    for use, do in ALL.items():
        if use == "put" and tail in {"..", "100%"}:
            continue
        with pytest.raises(InvalidRef, match=match) as caught:
            do(fs, f"{S}/{tail}", local)
        assert isinstance(caught.value, ValueError) and use


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("tail", ["x@2026-11-20T19:03:17", "x@2026-11-20", "x@2026-11-20 19:03", "@2026-11-20/x"])
def test_a_time_without_its_zone_is_part_of_a_name_and_the_error_says_so(fs: ArtifactFileSystem, tail: str) -> None:
    for do in (fs.cat_file, fs.info, fs.open, fs.created):
        with pytest.raises(ArtifactNotFound, match="select by time write it whole, with its zone"):
            do(f"{S}/{tail}")
    with pytest.raises(ArtifactNotFound) as caught:
        fs.info(f"{S}/nothing@8 o.clock")
    assert "zone" not in str(caught.value)


def test_anonymous_access_means_nothing_to_memory_and_local_folders(tmp_path: Path) -> None:
    """pandas asks for it after any PermissionError, and shows what that then raises."""
    for root in (f"memory://anonymous{next(_fresh)}", str(tmp_path / "store")):
        ArtifactFileSystem(root).pipe_file(f"{S}/x", b"1")
        read_only = ArtifactFileSystem(root, read_only=True, anon=True)
        assert read_only.cat_file(f"{S}/x") == b"1"
        with pytest.raises(AccessDenied, match="read_only=True"):
            read_only.pipe_file(f"{S}/x", b"2")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", [f"{S}/%00", f"{S}/a%00b", f"{S}/\ud800", f"{S}/{'x' * 1025}", f"{S}/user:user:x"])
def test_what_no_store_can_hold_is_an_invalid_name(fs: ArtifactFileSystem, local: Path, path: str) -> None:
    refused(fs, local, {**READS, **LOOKS, **WRITES}, path, InvalidName, None)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", [None, 3, b"shop/alice/s1/x", 1.5, object()])
def test_a_path_is_text(fs: ArtifactFileSystem, local: Path, path: object) -> None:
    # These look at the path before any filesystem does.
    by_url = {"fsspec.open", "fsspec.open_files", "fsspec.open wb", "pipe", "cp to", "mv to"}
    refused(fs, local, {use: do for use, do in ALL.items() if use not in by_url}, path, TypeError, None)
    one = {"open", "cat_file", "info", "ls", "find", "exists", "open wb", "pipe_file", "rm_file", "put_file", "touch"}
    refused(fs, local, {use: ALL[use] for use in one}, path, TypeError, "path is text or a path object")


@pytest.mark.usefixtures("unchanged")
def test_a_path_may_be_a_path_object_where_fsspec_takes_one(fs: ArtifactFileSystem) -> None:
    path = Path(S, "x")
    assert fs.cat_file(path) == b"second" == fs.open(path).read() and fs.info(path)["version"] == 1


# what cannot be changed


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "tail", ["x@0", "x@1", "x@-1", "@0/x", "@-1/x", "x@2030-01-01T00:00:00Z", "@2030-01-01T00:00:00Z/x"]
)
def test_a_version_is_never_written_to_nor_taken_away(fs: ArtifactFileSystem, local: Path, tail: str) -> None:
    for kind in (ImmutableVersion, PermissionError, InvalidRef):
        refused(fs, local, {**WRITES, **MANY}, f"{S}/{tail}", kind, f"never changes; write to artifact://{S}/x instead")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("tail", ["missing@0", "x@9"])
def test_nor_is_one_that_is_not_there(fs: ArtifactFileSystem, local: Path, tail: str) -> None:
    uses = {use: do for use, do in {**WRITES, **MANY}.items() if use not in {"rm recursive", "mv", "touch to keep"}}
    refused(fs, local, uses, f"{S}/{tail}", ImmutableVersion, "never changes")
    rest = {use: do for use, do in {**WRITES, **MANY}.items() if use not in uses}
    for do in rest.values():
        with pytest.raises((ImmutableVersion, FileNotFoundError)):
            do(fs, f"{S}/{tail}", local)


# what is not there, or is something else


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("path", "kind", "match"),
    [
        (f"{S}/missing", ArtifactNotFound, "no artifact 'shop/alice/s1/missing'"),
        (f"{S}/missing@0", FileNotFoundError, "missing"),
        (f"{S}/x@9", VersionNotFound, r"no version 9 \(newest is 1\)"),
        (f"{S}/x@-9", VersionNotFound, "x"),
        (f"{S}/@9/x", VersionNotFound, "no version 9"),
        (f"{S}/x@1999-01-01T00:00:00Z", FileNotFoundError, "x"),
        (f"{S}/x/y.csv", ArtifactNotFound, "no artifact 'shop/alice/s1/x/y.csv'"),
        (f"{S}/reports/q1.csv/x", ArtifactNotFound, "q1.csv/x"),
        ("shop/alice/s9/x", ArtifactNotFound, "shop/alice/s9/x"),
        ("shop/alice/user/x", ArtifactNotFound, "x"),
        ("none/of/this/is/there", ArtifactNotFound, "is/there"),
    ],
)
def test_what_is_not_there_is_not_found(
    fs: ArtifactFileSystem, local: Path, path: str, kind: type[Exception], match: str
) -> None:
    """Also below an artifact, which is no folder."""
    refused(fs, local, {**READS, **LOOKS}, path, kind, match)
    for use, do in ASKS.items():
        assert not do(fs, path, local), use


@pytest.mark.usefixtures("unchanged")
def test_what_is_not_there_is_not_taken_away(fs: ArtifactFileSystem, local: Path) -> None:
    uses = {**{use: MANY[use] for use in ("mv", "rm", "rm recursive")}, "rm_file": WRITES["rm_file"]}
    refused(fs, local, uses, f"{S}/missing", FileNotFoundError, "missing")
    refused(fs, local, {"rm recursive": MANY["rm recursive"]}, "shop/nobody", FileNotFoundError, "shop/nobody")
    for missing in ("shpo", "a/b", "a/b/c"):
        refused(
            fs,
            local,
            {use: READS[use] for use in ("get", "get_file", "cp", "cp_file")},
            missing,
            FileNotFoundError,
            missing,
        )


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["", "shop", "shop/alice", S, f"{S}/reports", f"{S}/@latest", f"{S}/@latest/reports"])
def test_a_folder_is_no_file(fs: ArtifactFileSystem, local: Path, path: str) -> None:
    """fsspec's `get` and `cp` pass over folders where they are not told to go into them."""
    reads = {use: do for use, do in READS.items() if use not in {"get", "get_file", "cp", "cp_file"}}
    refused(fs, local, reads, path, IsADirectoryError, "folder")
    refused(
        fs,
        local,
        {use: do for use, do in {**WRITES, **MANY}.items() if use in {"rm_file", "rm"}},
        path,
        IsADirectoryError,
        "folder",
    )
    if "reports" not in path:
        refused(fs, local, WRITES, path, IsADirectoryError, "folder")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["a", "a/b", "a/b/c", "report.csv", "folder/report.csv"])
def test_a_path_that_is_too_short_is_never_a_files(fs: ArtifactFileSystem, local: Path, path: str) -> None:
    writes = {**WRITES, "put": MANY["put"], "rm": MANY["rm"]}
    hint = "folder" if path == "a/b/c" else "an artifact's path is app/user/session/name"
    refused(fs, local, writes, path, IsADirectoryError, hint)
    for use in ("open", "cat_file", "read_text", "fsspec.open"):
        with pytest.raises((IsADirectoryError, FileNotFoundError)):
            READS[use](fs, path, local)


@pytest.mark.usefixtures("unchanged")
def test_a_name_that_ends_in_a_slash_is_a_folders(fs: ArtifactFileSystem, local: Path) -> None:
    """Where fsspec keeps the slash; its openers of URLs and its calls of many drop it."""
    one = ("open", "open text", "cat_file", "a slice", "cat_ranges", "head", "read_text", "modified", "created", "sign")
    for path in (f"{S}/x/", f"{S}/reports/", f"artifact://{S}/x/", f"{S}/@latest/x/"):
        refused(fs, local, {use: READS[use] for use in one}, path, IsADirectoryError, "folder")
        refused(
            fs,
            local,
            {use: do for use, do in WRITES.items() if use != "fsspec.open wb"},
            path,
            IsADirectoryError,
            "folder",
        )
    for path in (f"{S}/new/", "shop/alice/s9/"):
        refused(
            fs,
            local,
            {use: WRITES[use] for use in ("open wb", "pipe_file", "put_file")},
            path,
            IsADirectoryError,
            "folder",
        )


@pytest.mark.usefixtures("unchanged")
def test_nothing_is_put_that_is_not_on_the_disk_or_read_that_is_no_bytes(fs: ArtifactFileSystem, local: Path) -> None:
    for put in (fs.put, fs.put_file):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            put(str(local / "nowhere"), f"{S}/y")
    for value in (None, 5, [1, 2], object()):
        with pytest.raises(TypeError):
            fs.pipe_file(f"{S}/y", value)
    with pytest.raises(TypeError), fs.open(f"{S}/y", "wb") as file:
        file.write("text")
    (local / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        fs.get_file(f"{S}/x", str(local / "folder"))
    (local / "folder").rmdir()


# options


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("mode", ["r+b", "rb+", "w+b", "a+", "wt+", "", "b", "z", "rw", "wbx", "br"])
def test_other_modes_are_refused(fs: ArtifactFileSystem, mode: str) -> None:
    for path in (f"{S}/x", f"{S}/new"):
        with pytest.raises(ValueError, match="rb, wb, xb and ab"):
            fs.open(path, mode)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("mode", ["rb", "r", "wb", "w", "xb", "ab"])
def test_an_unknown_compression_is_refused(fs: Any, mode: str) -> None:
    for compression in ("nope", 5):
        with pytest.raises(ValueError, match="not supported"):
            fs.open(f"{S}/x", mode, compression=compression)


@pytest.mark.usefixtures("unchanged")
def test_options_that_mean_nothing_are_refused_where_something_would_be_written(fs: Any, local: Path) -> None:
    for mode in ("wb", "w", "ab", "xb"):
        with pytest.raises(TypeError, match="metdata"):
            fs.open(f"{S}/new", mode, metdata={"typo": 1})
    with pytest.raises(TypeError, match="metdata"):
        fs.pipe_file(f"{S}/new", b"x", metdata={"typo": 1})
    with pytest.raises(TypeError, match="metdata"):
        fs.put_file(str(local / "local"), f"{S}/new", metdata={"typo": 1})
    for use in (fs.pipe_file, lambda path, value, **options: fs.open(path, "wb", **options)):
        for wrong in (
            {"metadata": 5},
            {"metadata": {"a": float("nan")}},
            {"mime_type": 5},
            {"metadata": {"a": object()}},
        ):
            with pytest.raises(
                ValueError, match=next(iter(wrong)).partition("_")[0] if "metadata" in wrong else "MIME"
            ):
                use(f"{S}/new", b"x", **wrong)
    with pytest.raises(ValueError, match=r"overwrite.*create"):
        fs.pipe_file(f"{S}/new", b"x", mode="append")
    with pytest.raises(ValueError, match=r"nope.*readahead"):
        fs.open(f"{S}/x", cache_type="nope")
    for find in (
        lambda: fs.find(S, maxdepth=0),
        lambda: fs.glob(f"{S}/*", maxdepth=0),
        lambda: list(fs.walk(S, maxdepth=0)),
    ):
        with pytest.raises(ValueError, match="maxdepth"):
            find()


def test_unknown_storage_options_and_stores_are_refused_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (
        lambda **options: ArtifactFileSystem(url, **options),
        lambda **options: fsspec.filesystem("artifact", root=url, **options),
        lambda **options: fsspec.open(f"artifact://{S}/x", root=url, **options).fs,
    ):
        with pytest.raises(InvalidConfig, match="foo"):
            make(foo=1).ls("")
        with pytest.raises(InvalidConfig, match="max_bytes"):
            make(max_bytes="many").ls("")
    with pytest.raises(InvalidConfig, match="nope://"):
        ArtifactFileSystem("nope://x").ls("")
    for root in (None, ""):
        with pytest.raises(InvalidConfig, match=r"s3://bucket/prefix.*ARTIFACTFS_URL"):
            ArtifactFileSystem(root).ls("")
    with pytest.raises(InvalidConfig, match="ARTIFACTFS_URL"):
        fsspec.open(f"artifact://{S}/x").open()
    with pytest.raises(TypeError):
        ArtifactFileSystem(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="twice"):
        fsspec.open(f"artifact://{S}/x::memory://other", root=url).open()


# what the store does not allow, or is not there


@pytest.mark.usefixtures("unchanged")
def test_a_store_that_is_read_only_denies_every_change(fs: ArtifactFileSystem, url: str, local: Path) -> None:
    del fs
    reader = ArtifactFileSystem(url, read_only=True, skip_instance_cache=True)
    assert reader.cat(f"{S}/x") == b"second"
    changes = {use: do for use, do in {**WRITES, **MANY}.items() if "fsspec" not in use}
    there = {use: do for use, do in changes.items() if use not in {"open xb", "mv to", "cp to"}}
    refused(reader, local, there, f"{S}/x", AccessDenied, "read_only=True")
    refused(
        reader,
        local,
        {use: changes[use] for use in ("open xb", "open wb", "mv to", "cp to", "put")},
        f"{S}/new",
        PermissionError,
        "read_only=True",
    )
    with pytest.raises(AccessDenied), reader.transaction:
        reader.pipe(f"{S}/new", b"x")


@pytest.mark.usefixtures("unchanged")
def test_a_whole_read_of_more_than_max_bytes_is_refused_and_a_stream_is_not(
    fs: ArtifactFileSystem, url: str, local: Path
) -> None:
    del fs
    small = ArtifactFileSystem(url, max_bytes=4, skip_instance_cache=True)
    refused(
        small, local, {"cat_file": READS["cat_file"], "cat": READS["cat"]}, f"{S}/x", PayloadTooLarge, "max_bytes=4"
    )
    assert small.cat_file(f"{S}/reports/q1.csv") == b"q1" and small.cat_file(f"{S}/x", 0, 3) == b"sec"
    assert small.open(f"{S}/x").read() == b"second"


@pytest.fixture
def nowhere() -> ArtifactFileSystem:
    """A store whose server does not run."""
    options: dict[str, Any] = {"endpoint_url": f"http://127.0.0.1:{servers.free_port()}", "key": "k", "secret": "s"}
    return ArtifactFileSystem("s3://bucket/prefix", tries=1, skip_instance_cache=True, **options)


BY_PATH = {use: do for use, do in ALL.items() if "fsspec" not in use}


def test_a_store_that_is_down_is_unavailable_for_every_call(nowhere: ArtifactFileSystem, local: Path) -> None:
    """A listing that fails is an error, and never "nothing is there"."""
    for path in (f"{S}/x", f"{S}/x@0"):
        uses = {**READS, **LOOKS, **ASKS} if "@" in path else ALL
        uses = {use: do for use, do in uses.items() if use in BY_PATH and use != "mv to"}
        refused(nowhere, local, uses, path, BackendUnavailable, "refused the connection.*endpoint_url")
        assert issubclass(BackendUnavailable, ConnectionError)
    for folder in ("", "shop", S, f"{S}/@latest", f"{S}/@2026-11-20T00:00:00Z"):
        uses = {
            use: do
            for use, do in {**LOOKS, **ASKS}.items()
            if folder or use in {"ls", "ls names", "find", "walk", "du", "mapping"}
        }
        uses = {use: do for use, do in uses.items() if use not in {"isfile", "ukey", "checksum"}}
        refused(nowhere, local, uses, folder, BackendUnavailable, "refused the connection")
    refused(nowhere, local, {"rm recursive": MANY["rm recursive"]}, S, BackendUnavailable, "refused the connection")


def test_a_bucket_that_is_not_there_is_said(moto: Server, local: Path) -> None:
    fs = ArtifactFileSystem("s3://no-such-bucket-here/p", tries=1, skip_instance_cache=True, **moto.storage_options)
    uses = {use: do for use, do in BY_PATH.items() if use != "mv to"}
    refused(fs, local, uses, f"{S}/x", BackendError, "no-such-bucket-here")
    for use in ("open", "cat_file", "info", "exists", "find"):
        with pytest.raises(BackendError) as caught:
            ALL[use](fs, f"{S}/x", local)
        assert not isinstance(caught.value, FileNotFoundError | BackendUnavailable)


# the control


def test_an_error_of_another_kind_or_a_change_would_be_caught(
    fs: ArtifactFileSystem, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a filesystem that writes to versions, and one that raises what its store below does."""
    monkeypatch.setattr("artifactfs.filesystem.base.Base._target", lambda self, path: (self._ref(path), "x"))
    with pytest.raises(pytest.fail.Exception):
        refused(fs, local, {"pipe_file": WRITES["pipe_file"]}, f"{S}/x@0", ImmutableVersion, "never changes")
    with pytest.raises(KeyError):
        refused(fs, local, {"bare": lambda fs, path, local: {}[path]}, f"{S}/x", FileNotFoundError, None)
