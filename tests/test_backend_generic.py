"""Any filesystem of fsspec keeps the promises of a backend, as long as one writer is at work."""

from __future__ import annotations

import errno
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from artifactfs.backends.generic import GenericBackend
from artifactfs.errors import AccessDenied, BackendError, BackendUnavailable, InvalidConfig, InvalidName
from artifactfs.testing.backend import BINARY, BackendConformance, _all, _make, _run


class TestFsspecMemory(BackendConformance):
    single_writer = True
    many = 300

    @pytest.fixture
    def backend(self) -> GenericBackend:
        return GenericBackend(f"memory://{uuid.uuid4().hex}/prefix")

    @pytest.fixture
    def another(self, backend: GenericBackend) -> GenericBackend:
        return GenericBackend(backend.url + "/")


class TestFsspecLocal(BackendConformance):
    single_writer = True
    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> GenericBackend:
        return GenericBackend(f"file://{tmp_path}/store")

    @pytest.fixture
    def another(self, backend: GenericBackend) -> GenericBackend:
        return GenericBackend(backend.url)


class TestFsspecChained(BackendConformance):
    """A filesystem over another, whose paths have no leading slash."""

    single_writer = True
    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> GenericBackend:
        return GenericBackend(f"dir::file://{tmp_path}")

    @pytest.fixture
    def another(self, tmp_path: Path) -> GenericBackend:
        return GenericBackend("dir://", options={"path": str(tmp_path), "fs": LocalFileSystem()})


@pytest.fixture
def backend(tmp_path: Path) -> GenericBackend:
    return GenericBackend(f"file://{tmp_path}/store")


def test_races_are_left_out_for_one_writer_and_nothing_else_is() -> None:
    def tests(suite: type) -> set[str]:
        return {name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))}

    left_out = tests(BackendConformance) - tests(TestFsspecMemory)
    assert left_out and all(name.startswith("test_race_") for name in left_out)


def test_nothing_is_claimed_to_be_guaranteed(backend: GenericBackend) -> None:
    assert backend.abilities is not None and set(backend.abilities) == {"ignored"}


def test_an_unknown_url_or_option_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidConfig, match="cannot open nosuch://x"):
        GenericBackend("nosuch://x")
    with pytest.raises(InvalidConfig, match="cannot open dir://"):
        GenericBackend("dir://")


def test_credentials_in_the_url_are_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConfig) as caught:
        GenericBackend("nosuch://me:secret@host/x")
    assert "secret" not in str(caught.value) and "host/x" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), BackendError, "free some space"),
        (PermissionError(errno.EACCES, "Permission denied"), AccessDenied, "check the credentials"),
        (OSError(errno.EROFS, "Read-only file system"), AccessDenied, "who may write"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), InvalidName, "shorter name"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), BackendUnavailable, "check its address"),
        (TimeoutError("slow"), BackendUnavailable, "then try again"),
        (NotImplementedError(), BackendError, "does not implement"),
        (RuntimeError("a library's own"), BackendError, "RuntimeError: a library's own"),
    ],
)
def test_every_failure_of_the_filesystem_is_one_of_ours(
    backend: GenericBackend, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, text: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    _make(backend, ["a/x"])
    for name in ("info", "ls", "pipe_file", "open"):
        monkeypatch.setattr(LocalFileSystem, name, fail)
    for coro in (
        backend.create("a/y", b"", BINARY),
        backend.put("a/y", b"", BINARY),
        backend.get("a/x"),
        backend.stat("a/x"),
        backend.list("a/"),
        backend.list("", deep=True),
        backend.delete(["a/x"]),
        backend.unfinished(""),
    ):
        with pytest.raises(kind, match=text) as caught:
            _run(backend, coro)
        assert caught.value.__cause__ is error
        assert caught.value.store == backend.url


def test_a_look_that_fails_is_never_taken_for_a_free_key(
    backend: GenericBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(backend, ["a/x"])

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(LocalFileSystem, "info", fail)
        with pytest.raises(BackendError):
            _run(backend, backend.create("a/x", b"other", BINARY))
    got = _run(backend, backend.get("a/x"))
    assert got is not None and got.data == b"a/x"


@pytest.mark.parametrize(
    "when",
    [
        {"mtime": 1_000_000.0},
        {"LastModified": datetime.fromtimestamp(1_000_000, UTC)},
        {"updated": "1970-01-12T13:46:40Z"},
        {"created": datetime(1970, 1, 12, 13, 46, 40)},
        {"mtime": None, "last_modified": "never", "modified": 1_000_000},
    ],
)
def test_time_is_found_whatever_the_filesystem_calls_it(
    backend: GenericBackend, monkeypatch: pytest.MonkeyPatch, when: dict[str, Any]
) -> None:
    _make(backend, ["x"])
    real = LocalFileSystem.info

    def info(self: LocalFileSystem, path: str, **kwargs: Any) -> dict[str, Any]:
        return {name: real(self, path)[name] for name in ("name", "size", "type")} | when

    monkeypatch.setattr(LocalFileSystem, "info", info)
    stat = _run(backend, backend.stat("x"))
    assert stat is not None and stat.modified == 1_000_000


def test_an_undated_object_has_time_zero_and_an_undated_upload_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = GenericBackend(f"memory://{uuid.uuid4().hex}")
    real_info, real_ls = MemoryFileSystem.info, MemoryFileSystem.ls

    def undated(info: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in info.items() if name != "created"}

    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **kw: undated(real_info(self, path)))
    monkeypatch.setattr(
        MemoryFileSystem, "ls", lambda self, path, detail=True, **kw: [*map(undated, real_ls(self, path))]
    )
    _make(backend, ["x", ".tmp-left"])
    stat, page = _run(backend, backend.stat("x")), _run(backend, backend.list(""))
    assert stat is not None and stat.modified == 0.0 and page.entries[0].modified == 0.0
    (left,) = _run(backend, backend.unfinished(""))
    assert left.key == ".tmp-left" and left.started > 1_000_000_000


def test_a_leftover_of_a_killed_writer_is_unfinished_and_not_listed(backend: GenericBackend, tmp_path: Path) -> None:
    _make(backend, ["a/x"])
    left = tmp_path / "store/a/.tmp-1"
    left.write_bytes(b"half")
    os.utime(left, (1_000_000, 1_000_000))
    assert _all(backend, "a/") == ["x"] and _all(backend, "", deep=True) == ["a/x"]
    (found,) = _run(backend, backend.unfinished(""))
    assert (found.key, found.started) == ("a/.tmp-1", 1_000_000)
    _run(backend, backend.discard(found._replace(token="a/x")))
    _run(backend, backend.discard(found))
    assert sorted(os.listdir(tmp_path / "store/a")) == ["x"]


def test_a_filesystem_that_keeps_what_it_is_given_keeps_what_was_written(
    backend: GenericBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []
    upload = _run(backend, backend.upload("a/x", BINARY))
    monkeypatch.setattr(upload._stream, "write", kept.append, raising=False)
    memory = bytearray(b"one")
    for piece in (b"one", b"two"):
        memory[:] = piece
        _run(backend, upload.write(memoryview(memory)))
    assert kept == [b"one", b"two"]
    assert all(type(piece) is bytes for piece in kept)
    monkeypatch.undo()
    _run(backend, upload.abort())


def test_a_key_that_leads_out_is_refused(backend: GenericBackend) -> None:
    for key in ("../x", "a/../x", "a/.."):
        with pytest.raises(InvalidName, match="leads out"):
            _run(backend, backend.get(key))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_the_filesystem_anew(backend: GenericBackend) -> None:
    _make(backend, ["x"])
    before = backend._fs
    child = os.fork()
    if child == 0:
        got = _run(backend, backend.get("x"))
        os._exit(0 if got is not None and got.data == b"x" and backend._fs is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend._fs is before
