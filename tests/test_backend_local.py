"""The local backend keeps every promise of a backend, on the disk, between processes, and when the disk fails."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import pickle
import stat as modes
import threading
from pathlib import Path
from typing import Any

import pytest

from artifactfs.backends import local_files
from artifactfs.backends.base import Page
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.local_files import temporary
from artifactfs.errors import AccessDenied, BackendError, BackendUnavailable, InvalidConfig, InvalidName, UnsafeBackend
from artifactfs.testing.backend import BINARY, BackendConformance, _all, _make, _run, _together


class TestLocal(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path / "store", durability="none")

    @pytest.fixture
    def another(self, backend: LocalBackend) -> LocalBackend:
        return LocalBackend(backend.url, durability="none")


class TestLocalSynced(BackendConformance):
    many = 100

    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path)


def refuse_links(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


class TestLocalWithoutHardLinks(BackendConformance):
    many = 100

    @pytest.fixture(autouse=True)
    def no_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("artifactfs.backends.local.os.link", refuse_links)

    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path, durability="none")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    return LocalBackend(root, durability="none")


def on_disk(root: Path) -> list[str]:
    """Everything below *root*, hidden and temporary files too, but for the lock."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.name != ".lock")


# paths


@pytest.mark.parametrize("form", ["file://{}", "local://{}", "{}", "{}/", "{}/x/.."])
def test_a_path_and_a_url_name_the_same_folder(tmp_path: Path, form: str) -> None:
    assert LocalBackend(form.format(tmp_path)).url == f"file://{tmp_path}"


def test_relative_and_home_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LocalBackend("./dir").url == LocalBackend("dir").url == LocalBackend("~/dir").url == f"file://{tmp_path}/dir"


def test_opening_and_reading_make_nothing(backend: LocalBackend, root: Path) -> None:
    assert _run(backend, backend.get("a/b")) is None
    assert _run(backend, backend.list("")) == Page((), (), None)
    _run(backend, backend.delete(["a/b"]))
    assert _run(backend, backend.now()) > 0
    assert _run(backend, backend.unfinished("")) == []
    assert not root.exists()


def test_a_root_that_is_a_file_and_a_wrong_durability_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidConfig, match="is a file; give the path of a folder"):
        LocalBackend(tmp_path / "file")
    with pytest.raises(InvalidConfig, match="'fsync' or 'none'"):
        LocalBackend(tmp_path, durability="maybe")  # type: ignore[arg-type]


def test_limits_are_those_of_the_file_system(backend: LocalBackend, root: Path) -> None:
    assert backend.max_segment == os.pathconf(root.parent, "PC_NAME_MAX")
    assert backend.max_key is not None and 2000 < backend.max_key < os.pathconf(root.parent, "PC_PATH_MAX")
    segment = "x" * 100
    key = "/".join([segment] * (backend.max_key // 101)) + "/"
    key += "y" * (backend.max_key - len(key))
    assert _run(backend, backend.create(key, b"x", BINARY)).done


def test_plain_files_that_honour_the_umask(backend: LocalBackend, root: Path) -> None:
    before = os.umask(0o027)
    try:
        _run(backend, backend.create("a/b", b"text", "text/plain"))
        _run(backend, backend.put("a/c", b"text", "text/plain"))
    finally:
        os.umask(before)
    assert (root / "a/b").read_bytes() == b"text"
    assert {modes.S_IMODE((root / "a" / name).stat().st_mode) for name in "bc"} == {0o640}
    assert modes.S_IMODE((root / "a").stat().st_mode) == 0o750
    assert (root / "a/b").stat().st_nlink == 1


# durability


class Calls:
    """Counts what is synced, by kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = self.folders = 0
        real = os.fsync

        def fsync(fd: int) -> None:
            if modes.S_ISDIR(os.fstat(fd).st_mode):
                self.folders += 1
            else:
                self.files += 1
            real(fd)

        monkeypatch.setattr("artifactfs.backends.local.os.fsync", fsync)

    def take(self) -> tuple[int, int]:
        taken = (self.files, self.folders)
        self.files = self.folders = 0
        return taken


def test_writes_sync_the_file_its_folder_and_new_parents(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    backend, calls = LocalBackend(root), Calls(monkeypatch)
    _run(backend, backend.create("a/b/x", b"1", BINARY))
    assert calls.take() == (1, 3), "the file, its folder, and the two folders that got a new name"
    _run(backend, backend.create("a/b/y", b"1", BINARY))
    assert calls.take() == (1, 1)
    _run(backend, backend.create("a/b/y", b"1", BINARY))
    assert calls.take() == (0, 0)
    _run(backend, backend.put("a/b/y", b"2", BINARY))
    assert calls.take() == (1, 1)
    stat = _run(backend, backend.stat("a/b/y"))
    assert stat is not None
    _run(backend, backend.replace("a/b/y", b"3", BINARY, stat.tag))
    assert calls.take() == (1, 1)
    upload = _run(backend, backend.upload("a/b/z", BINARY))
    _run(backend, upload.write(b"4"))
    assert calls.take() == (0, 0)
    _run(backend, upload.commit())
    assert calls.take() == (1, 1)
    _run(backend, backend.delete(["a/b/y", "a/b/z"]))
    assert calls.take() == (0, 1)
    _run(backend, backend.delete(["a/b/x"]))
    assert calls.take() == (0, 1), "the folder above the removed ones"
    assert on_disk(root) == []


def test_without_durability_nothing_is_synced(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    _run(backend, backend.create("a/b/x", b"1", BINARY))
    _run(backend, backend.put("a/b/x", b"2", BINARY))
    _run(backend, _run(backend, backend.upload("a/b/y", BINARY)).commit())
    _run(backend, backend.delete(["a/b/x"]))
    assert calls.take() == (0, 0)


def test_a_write_that_is_there_but_not_confirmed_says_that_it_landed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(root)
    _make(backend, ["a/there"])
    stat = _run(backend, backend.stat("a/there"))
    assert stat is not None
    upload = _run(backend, backend.upload("a/uploaded", BINARY))
    real = os.fsync

    def fsync(fd: int) -> None:
        if modes.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr("artifactfs.backends.local.os.fsync", fsync)
    for coro in (
        backend.create("a/created", b"", BINARY),
        upload.commit(),
        backend.put("a/put", b"", BINARY),
        backend.replace("a/there", b"", BINARY, stat.tag),
    ):
        with pytest.raises(BackendUnavailable, match="would not confirm it") as caught:
            _run(backend, coro)
        assert caught.value.landed
    assert on_disk(root) == ["a", "a/created", "a/put", "a/there", "a/uploaded"]


# a disk that cannot, or will not


def test_a_file_system_without_links_or_safe_renames_is_refused(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifactfs.backends.local.os.link", refuse_links)
    monkeypatch.setattr("ctypes.CDLL", lambda *args, **kwargs: object())
    with pytest.raises(UnsafeBackend, match="put the store on another one"):
        _run(backend, backend.create("a/x", b"1", BINARY))
    upload = _run(backend, backend.upload("a/y", BINARY))
    with pytest.raises(UnsafeBackend, match="neither hard links"):
        _run(backend, upload.commit())
    _run(backend, upload.abort())
    assert on_disk(root) == []


def test_a_file_system_without_locks_is_refused(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("artifactfs.backends.local.fcntl.flock", flock)
    with pytest.raises(UnsafeBackend, match="no file locks"):
        _run(backend, backend.put("a/x", b"1", BINARY))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    _make(backend, ["there/x"])
    stat = _run(backend, backend.stat("there/x"))
    assert stat is not None
    upload = _run(backend, backend.upload("u/x", BINARY))
    real = os.write

    def write(fd: int, data: Any) -> int:
        if len(data) > 10:
            return real(fd, data[:10])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("artifactfs.backends.local.os.write", write)
    for coro in (
        backend.create("a/x", b"1" * 15, BINARY),
        backend.put("a/x", b"1" * 15, BINARY),
        backend.replace("there/x", b"1" * 15, BINARY, stat.tag),
        upload.write(b"1" * 15),
    ):
        with pytest.raises(BackendError, match=r"disk full.*free some space") as caught:
            _run(backend, coro)
        assert caught.value.errno == code and caught.value.store == backend.url
        assert isinstance(caught.value.__cause__, OSError)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    _run(backend, upload.abort())
    assert on_disk(root) == ["there", "there/x"]
    got = _run(backend, backend.get("there/x"))
    assert got is not None and got.data == b"there/x"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_refused_permission_says_where_and_what_to_do(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> int:
        raise OSError(code, os.strerror(code))

    _make(backend, ["a/x"])
    monkeypatch.setattr("artifactfs.backends.local.os.open", refuse)
    for name in ("scandir", "listdir"):
        monkeypatch.setattr(f"artifactfs.backends.local_files.os.{name}", refuse)
    for coro in (
        backend.create("a/new", b"", BINARY),
        backend.get("a/x"),
        backend.stat("a/x"),
        backend.list("a/"),
        backend.delete(["a/x"]),
        backend.put("a/x", b"", BINARY),
        backend.replace("a/x", b"", BINARY, "tag"),
        backend.upload("a/y", BINARY),
        backend.unfinished(""),
    ):
        with pytest.raises(AccessDenied, match=r"no permission for .* check the owner and mode"):
            _run(backend, coro)


def test_other_things_in_the_tree_are_errors_not_objects(backend: LocalBackend, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"outside")
    (root / "a/folder").mkdir(parents=True)
    (root / "a/link").symlink_to(tmp_path / "secret")
    (root / "a/out").symlink_to(tmp_path)
    os.mkfifo(root / "a/pipe")
    assert _all(backend, "a/") == [], "a link, a pipe and an empty folder are no objects"
    assert _all(backend, "", deep=True) == []
    with pytest.raises(BackendError, match="symbolic link"):
        _run(backend, backend.get("a/link"))
    assert _run(backend, backend.get("a/pipe")) is None
    with pytest.raises(BackendError, match="a folder stands in the place of"):
        _run(backend, backend.create("a/folder", b"", BINARY))
    with pytest.raises(BackendError, match="a folder stands in the place of"):
        _run(backend, backend.put("a/folder", b"", BINARY))
    _make(backend, ["a/file"])
    assert _run(backend, backend.get("a/file/x")) is None
    with pytest.raises(BackendError, match="a file stands where a folder is needed"):
        _run(backend, backend.create("a/file/x", b"", BINARY))
    for key in ("x" * 300, "x" * 300 + "/y"):
        with pytest.raises(InvalidName, match="too long"):
            _run(backend, backend.create(key, b"", BINARY))
    with pytest.raises(BackendError, match="cannot sign"):
        _run(backend, backend.sign("a/file", 60))
    assert not [name for name in on_disk(root) if ".tmp" in name]


@pytest.mark.parametrize("key", ["../x", "a/../x", ".lock", "a/.tmp-1", "./x", ".."])
def test_no_key_reaches_a_hidden_or_outer_file(backend: LocalBackend, key: str) -> None:
    _make(backend, ["a/x"])
    for coro in (backend.create(key, b"", BINARY), backend.get(key), backend.list(key + "/"), backend.delete([key])):
        with pytest.raises(InvalidName, match="starts with a dot"):
            _run(backend, coro)


# temporary files and locks


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_gives_its_temporary_files_names_of_its_own() -> None:
    processes = multiprocessing.get_context("fork")
    names = processes.SimpleQueue()
    child = processes.Process(target=lambda: names.put([temporary() for _ in range(3)]))
    child.start()
    theirs = names.get()
    child.join()
    assert len({*theirs, *(temporary() for _ in range(3))}) == 6


def test_a_temporary_name_that_a_copy_of_this_process_has_given_is_not_given_again(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(backend, ["a/x"])
    (root / "a" / ".tmp-theirs").touch()
    names = iter([".tmp-theirs", ".tmp-ours"])
    monkeypatch.setattr("artifactfs.backends.local_files.temporary", lambda: next(names))
    assert _run(backend, backend.create("a/y", b"whole", BINARY)).done
    assert on_disk(root) == ["a", "a/.tmp-theirs", "a/x", "a/y"]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ESTALE])
def test_a_folder_that_is_removed_when_it_was_opened_is_made_again(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    _make(backend, ["a/x"])
    real = os.open

    def opening(path: Any, *args: Any, dir_fd: int | None = None) -> int:
        if dir_fd is not None and (root / "a" / "x").exists():
            (root / "a" / "x").unlink()
            (root / "a").rmdir()
            raise OSError(code, os.strerror(code))
        return real(path, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opening)
    assert _run(backend, backend.create("a/y", b"whole", BINARY)).done
    assert on_disk(root) == ["a", "a/y"]


def test_a_leftover_of_a_killed_writer_is_unfinished_and_not_listed(backend: LocalBackend, root: Path) -> None:
    _make(backend, ["a/x"])
    for left in ("a/.tmp-1", "b/c/.tmp-2"):
        (root / left).parent.mkdir(parents=True, exist_ok=True)
        (root / left).write_bytes(b"half")
        os.utime(root / left, (1_000_000, 1_000_000))
    assert _all(backend, "") == ["a/"]
    assert _all(backend, "a/") == [*_all(backend, "b/", deep=True), "x"]
    found = sorted(_run(backend, backend.unfinished("")))
    assert [(upload.key, upload.started) for upload in found] == [("a/.tmp-1", 1_000_000), ("b/c/.tmp-2", 1_000_000)]
    for upload in found:
        _run(backend, backend.discard(upload))
    assert on_disk(root) == ["a", "a/x"]


def test_discard_removes_temporary_files_only(backend: LocalBackend, root: Path) -> None:
    _make(backend, ["a/x"])
    (root / "a/.tmp-1").write_bytes(b"half")
    (upload,) = _run(backend, backend.unfinished(""))
    _run(backend, backend.discard(upload._replace(token="a/x")))
    assert _all(backend, "a/") == ["x"]


def test_a_rewrite_in_the_same_tick_of_the_clock_has_another_tag(backend: LocalBackend, root: Path) -> None:
    tags = []
    for data in (b"one", b"two", b"six"):
        _run(backend, backend.put("x", data, BINARY))
        os.utime(root / "x", (1_000_000, 1_000_000))
        stat = _run(backend, backend.stat("x"))
        assert stat is not None
        tags.append(stat.tag)
    assert len(set(tags)) == 3
    assert not _run(backend, backend.replace("x", b"new", BINARY, tags[0])).done


def test_a_long_object_is_read_in_ranges_with_one_tag(backend: LocalBackend) -> None:
    data = os.urandom(1_000_000)
    _run(backend, backend.create("x", data, BINARY))
    whole, part = _run(backend, backend.get("x")), _run(backend, backend.get("x", 999_990, 2_000_000))
    stat = _run(backend, backend.stat("x"))
    assert whole and part and stat
    assert whole.data == data and part.data == data[999_990:]
    assert whole.tag == part.tag == stat.tag


def test_a_replace_that_raced_with_a_delete_does_not_bring_the_object_back(backend: LocalBackend) -> None:
    def race(key: str, tag: str) -> None:
        _together(
            [(backend, lambda: backend.replace(key, b"new", BINARY, tag)), (backend, lambda: backend.delete([key]))]
        )

    for turn in range(50):
        key = f"a/{turn}"
        _make(backend, [key])
        stat = _run(backend, backend.stat(key))
        assert stat is not None
        race(key, stat.tag)
        assert _run(backend, backend.get(key)) is None, turn
    assert _all(backend, "a/") == []


def test_a_lock_held_elsewhere_is_waited_for(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(backend, backend.put("x", b"first", BINARY))
    holder = os.open(root / ".lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    real, waiting = fcntl.flock, threading.Event()

    def flock(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            with pytest.raises(BlockingIOError):
                real(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waiting.set()
        real(fd, operation)

    monkeypatch.setattr("artifactfs.backends.local.fcntl.flock", flock)
    writer = threading.Thread(target=lambda: _run(backend, backend.put("x", b"second", BINARY)))
    writer.start()
    assert waiting.wait(60)
    got = _run(backend, backend.get("x"))
    assert got is not None and got.data == b"first"
    os.close(holder)
    writer.join()
    got = _run(backend, backend.get("x"))
    assert got is not None and got.data == b"second"


# many at once


def create_all(root: str, who: int, keys: int, start: Any, answers: Any) -> None:
    backend = LocalBackend(root, durability="none")
    start.wait()
    won = [n for n in range(keys) if _run(backend, backend.create(f"k/{n}/0", b"%d" % who * 100, BINARY)).done]
    answers.put((who, won))


# Newer Pythons warn of a fork beside threads, of which a test before this one may have left some.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_eight_processes_creating_the_same_keys_have_one_winner_each(root: Path) -> None:
    processes = multiprocessing.get_context("fork")
    keys, writers = 200, 8
    start, answers = processes.Barrier(writers), processes.Queue()
    workers = [
        processes.Process(target=create_all, args=(str(root), who, keys, start, answers)) for who in range(writers)
    ]
    for worker in workers:
        worker.start()
    winner: dict[int, int] = {}
    for _ in workers:
        who, won = answers.get()
        for n in won:
            assert n not in winner, f"key {n} was won twice"
            winner[n] = who
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    backend = LocalBackend(root)
    assert len(winner) == keys
    for n, who in winner.items():
        got = _run(backend, backend.get(f"k/{n}/0"))
        assert got is not None and got.data == b"%d" % who * 100
    assert len(on_disk(root)) == 1 + 2 * keys


def test_a_create_survives_that_others_remove_its_folder(backend: LocalBackend, root: Path) -> None:
    async def hammer(who: int) -> None:
        for _ in range(200):
            key = f"a/b/c/{who}"
            assert (await backend.create(key, b"mine", BINARY)).done
            got = await backend.get(key)
            assert got is not None and got.data == b"mine"
            await backend.list("a/", deep=True)
            await backend.delete([key])

    _together([(backend, lambda who=who: hammer(who)) for who in range(4)])  # type: ignore[misc]
    assert on_disk(root) == []


def test_a_folder_of_very_many_files_is_read_a_few_times_and_listed_in_order(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "s").mkdir(parents=True)
    names = [f"{number:04}" for number in range(9000)]
    for name in names:
        (root / "s" / name).touch()
    backend, real, reads = LocalBackend(root), os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: reads.append(path) or real(path))
    for deep in (False, True):
        reads.clear()
        assert _all(backend, "s/", deep=deep) == names
        assert len(reads) <= 5
    assert len(_run(backend, backend.list("s/", limit=3)).entries) == 3


def test_listing_while_others_create_and_delete_shows_what_stays(backend: LocalBackend) -> None:
    stay = [f"s/{n:03}" for n in range(0, 300, 3)]
    _make(backend, stay)

    async def churn() -> None:
        for n in range(300):
            if n % 3:
                await backend.create(f"s/{n:03}", b"", BINARY)
                await backend.delete([f"s/{n:03}"])

    async def look() -> None:
        for _ in range(20):
            names = {entry.name for entry in (await backend.list("s/")).entries}
            assert names >= {key[2:] for key in stay}

    _together([(backend, churn), (backend, look)])


@pytest.mark.parametrize(("durability", "told"), [("fsync", [(0, 3), (3, 6)]), ("none", [])])
def test_a_long_stream_begins_to_go_to_the_disk_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, told: list[tuple[int, int]]
) -> None:
    begun: list[tuple[int, int]] = []
    mib = 1024 * 1024
    monkeypatch.setattr(local_files, "begin_sync", lambda _, start, end: begun.append((start // mib, end // mib)))
    backend = LocalBackend(tmp_path, durability=durability)
    upload = _run(backend, backend.upload("a/b", BINARY))
    for _ in range(5):
        _run(backend, upload.write(bytes(3 * mib // 2)))
    assert _run(backend, upload.commit()).done
    assert begun == told


def test_a_file_system_that_takes_no_advice_fails_no_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "posix_fadvise", refuses, raising=False)
    backend = LocalBackend(tmp_path)
    upload = _run(backend, backend.upload("a/b", BINARY))
    _run(backend, upload.write(bytes(3 * 1024 * 1024)))
    assert _run(backend, upload.commit()).done
