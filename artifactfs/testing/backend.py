"""The promises of a backend, as tests: subclass `BackendConformance` and give one fixture.

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def backend(self):
            return MyBackend("my://somewhere")

Every test works below a folder of its own, so that one store may serve them all. What a store is known not to do is
said by the class attributes; nothing is skipped silently.
"""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from artifactfs.backends.base import SUSPENDING, WHOLE_LIMIT, Backend, Entry, Page, Unfinished, Upload, Written
from artifactfs.errors import ArtifactError, BackendError

T = TypeVar("T")
BINARY = "application/octet-stream"

ODD_SEGMENTS = (
    "a b",
    "a!b",
    "!7",
    "it's",
    "(1)",
    "a&b",
    "a+b",
    "a=b",
    "~x",
    "a,b;c",
    "me@here.example",
    "$x",
    "{x}",
    "^x",
    "`x`",
    "-x",
    "a.b.c",
    "7.metadata",
    "@hidden",
    "@store",
    "%75ser",
    "reports%2Fq1.csv",
    "%2E%2E",
    "%2Fetc",
    "100%25",
    "%252F",
    "a%3Ab%2Ac%3Fd%5Be%5Df%23g%22h%3Ci%3Ej%7Ck",
    "%5C",
    "%00",
    "%0D%0A",
    "x%20",
    "x%2E",
    "%43ON",
    "caf\u00e9",
    "cafe\u0301",
    "\u00fcber",
    "日本語",
    "العربية",
    "a\u200db",
    "\ufb01",
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\ue000",
    "\uffef",
)
"""Encoded segments that some store, signature or URL is known to treat in a way of its own."""

CUT_OFF = b"before\r\n--==0==--\r\nafter, which a fixed multipart boundary would lose\r\n--==0==\r\nand this"
"""What ends the body of an upload whose multipart boundary is ``==0==``."""


def _run(backend: Backend, coro: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine of *backend* to its end, as its `placement` says."""
    if backend.placement in SUSPENDING:
        from fsspec.asyn import get_loop, sync

        result: T = sync(get_loop(), lambda: coro)
        return result
    try:
        coro.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coro.close()
    raise AssertionError(f"a backend of placement {backend.placement!r} suspended")


def _together(jobs: Sequence[tuple[Backend, Callable[[], Coroutine[Any, Any, T]]]]) -> list[T]:
    """Run all *jobs* at once: one thread for each, started by a barrier."""
    results: list[T | BaseException] = [RuntimeError("did not run")] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        backend, make = jobs[i]
        try:
            barrier.wait()
            results[i] = _run(backend, make())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            results[i] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [_raised(result) for result in results]


def _gathered(jobs: Sequence[tuple[Backend, Callable[[], Coroutine[Any, Any, T]]]]) -> list[T]:
    """Run all *jobs* at once: as tasks of one loop where the backend lives on one, else by threads."""
    if jobs[0][0].placement not in SUSPENDING:
        return _together(jobs)

    async def gather() -> list[T]:
        return list(await asyncio.gather(*(make() for _, make in jobs)))

    return _run(jobs[0][0], gather())


def _raised(result: T | BaseException) -> T:
    if isinstance(result, BaseException):
        raise result
    return result


def _bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def _order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode())


def _make(backend: Backend, keys: Sequence[str], data: Callable[[str], bytes] = str.encode) -> None:
    """Create all *keys*, 32 at a time where the backend lives on a loop."""
    if backend.placement not in SUSPENDING:
        for key in keys:
            assert _run(backend, backend.create(key, data(key), BINARY)).done
        return

    async def make() -> None:
        places = asyncio.Semaphore(32)

        async def one(key: str) -> None:
            async with places:
                assert (await backend.create(key, data(key), BINARY)).done

        await asyncio.gather(*map(one, keys))

    _run(backend, make())


def _names(page: Page) -> list[str]:
    """Entries and folders of a page, the latter with their slash, in the order of the listing."""
    names = [entry.name for entry in page.entries]
    assert names == _order(names), "entries are not in the order of their UTF-8 bytes"
    folders = [folder + "/" for folder in page.folders]
    assert folders == _order(folders), "folders are not in the order of their UTF-8 bytes"
    return _order(names + folders)


def _numbered(page: Page, floor: int) -> set[Entry]:
    """The entries of payloads and records whose number is *floor* or above."""
    numbers = {entry: entry.name.removesuffix(".metadata") for entry in page.entries}
    return {
        entry for entry, text in numbers.items() if text == text.lstrip("0") and text.isdecimal() and int(text) >= floor
    }


def _pages(backend: Backend, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000) -> Iterator[Page]:
    """A listing page by page; every page must go on where the one before it ended."""
    while True:
        page = _run(backend, backend.list(folder, after, deep=deep, limit=limit))
        names = _names(page)
        assert not names or names[0].encode() > after.encode(), f"{names[0]!r} does not sort after {after!r}"
        yield page
        if page.next is None:
            return
        assert page.next.encode() > after.encode(), "paging does not advance"
        assert not names or page.next.encode() >= names[-1].encode(), "the next page would begin inside this one"
        after = page.next


def _all(backend: Backend, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000) -> list[str]:
    """All names below *folder*, a folder's with its slash, each once and in order."""
    found = [name for page in _pages(backend, folder, after, deep=deep, limit=limit) for name in _names(page)]
    assert len(found) == len(set(found)), "a name was listed twice"
    return found


def _entries(backend: Backend, folder: str, *, deep: bool = False) -> dict[str, Entry]:
    return {entry.name: entry for page in _pages(backend, folder, deep=deep) for entry in page.entries}


def _unfinished(backend: Backend, folder: str) -> list[Unfinished]:
    return list(_run(backend, backend.unfinished(folder)))


def _write(backend: Backend, upload: Upload, data: bytes, sizes: Sequence[int]) -> None:
    """Write *data* in pieces of these *sizes*, over and over."""
    at = turn = 0
    while at < len(data):
        step = sizes[turn % len(sizes)]
        _run(backend, upload.write(data[at : at + step]))
        at, turn = at + step, turn + 1


class BackendConformance:
    """All promises of `artifactfs.backends.base.Backend`. Override the fixture `backend`.

    Attributes:
        single_writer: True for a backend that is only safe for one writer: the tests of races are left out.
        atomic_complete: False where the store is known not to keep the precondition when an upload in parts ends.
        lists_unfinished: False where the store cannot tell which uploads were begun.
        many: how many keys the long listing holds.
        racers: how many writers race for a key; `rounds`: for how many keys.
    """

    single_writer = False
    atomic_complete = True
    lists_unfinished = True
    many = 2300
    racers = 8
    rounds = 10

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.single_writer:
            for name in dir(BackendConformance):
                if name.startswith("test_race_"):
                    setattr(cls, name, None)

    @pytest.fixture
    def backend(self) -> Any:
        """The backend under test."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def another(self, backend: Backend) -> Any:
        """A second client of the same store; the same one where there is nothing to share."""
        return backend

    @pytest.fixture
    def folder(self) -> str:
        """A folder of the test's own, ending in a slash."""
        return f"conformance/{uuid.uuid4().hex}/"

    # what a backend says of itself

    def test_it_is_a_backend_of_a_known_placement(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert backend.placement in ("inline", "thread", "loop", "any")
        assert "://" in backend.url
        assert backend.abilities is None or len(backend.abilities) == 3
        assert backend.abilities is not None or backend.identity, "a probe's answer needs an identity to be kept under"

    def test_signing_gives_a_url_or_says_that_it_cannot(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        try:
            url = _run(backend, backend.sign(folder + "x", 60))
        except BackendError:
            return
        assert "://" in url

    def test_it_may_be_used_again_after_close(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        _run(backend, backend.close())
        assert _run(backend, backend.stat(folder + "x")) is not None

    # create

    @pytest.mark.parametrize("size", [0, 1, 1000, 5 * 1024 * 1024 + 3, WHOLE_LIMIT])
    def test_create_stores_all_bytes(self, backend: Backend, another: Backend, folder: str, size: int) -> None:
        data = _bytes(size)
        written = _run(backend, backend.create(folder + "x", data, BINARY))
        assert written.done and written.tries >= 1
        got = _run(another, another.get(folder + "x"))
        assert got is not None and got.data == data and got.size == size
        assert not written.tag or written.tag == got.tag

    @pytest.mark.parametrize("there", [b"", b"first"])
    @pytest.mark.parametrize("size", [0, 1, 5 * 1024 * 1024 + 3])
    def test_create_never_overwrites(
        self, backend: Backend, another: Backend, folder: str, there: bytes, size: int
    ) -> None:
        assert _run(backend, backend.create(folder + "x", there, BINARY)).done
        assert not _run(another, another.create(folder + "x", _bytes(size), BINARY)).done
        assert not _run(backend, backend.create(folder + "x", _bytes(size), BINARY)).done
        got = _run(backend, backend.get(folder + "x"))
        assert got is not None and got.data == there

    def test_create_after_delete_stores_the_new_bytes(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        _run(backend, backend.delete([folder + "x"]))
        assert _run(backend, backend.create(folder + "x", b"second", BINARY)).done
        got = _run(backend, backend.get(folder + "x"))
        assert got is not None and got.data == b"second"

    @pytest.mark.parametrize("run", [_together, _gathered], ids=["threads", "tasks"])
    @pytest.mark.parametrize("size", [0, 300, 300_000])
    def test_race_of_creators_has_one_winner(
        self,
        backend: Backend,
        another: Backend,
        folder: str,
        run: Callable[[Sequence[tuple[Backend, Callable[[], Coroutine[Any, Any, Any]]]]], list[Any]],
        size: int,
    ) -> None:
        def creator(who: int, key: str) -> tuple[Backend, Callable[[], Coroutine[Any, Any, Written]]]:
            client = (backend, another)[who % 2]
            return client, lambda: client.create(key, _bytes(size, who), BINARY)

        for turn in range(self.rounds):
            key = f"{folder}{turn}/x"
            answers = run([creator(who, key) for who in range(self.racers)])
            winners = [who for who, written in enumerate(answers) if written.done]
            assert len(winners) == 1, f"{len(winners)} of {self.racers} racing creators won {key}"
            got = _run(another, another.get(key))
            assert got is not None and got.data == _bytes(size, winners[0]), "the winner's bytes are not there"

    def test_race_of_a_create_with_a_commit_has_one_winner(
        self, backend: Backend, another: Backend, folder: str
    ) -> None:
        size = WHOLE_LIMIT + 1 if self.atomic_complete else 1000
        for turn in range(3):
            key = f"{folder}{turn}/x"
            upload = _run(backend, backend.upload(key, BINARY))
            _write(backend, upload, _bytes(size, 1), [1_000_003])
            jobs: list[tuple[Backend, Callable[[], Coroutine[Any, Any, Written]]]] = [
                (backend, upload.commit),
                (another, lambda key=key: another.create(key, b"whole", BINARY)),  # type: ignore[misc]
            ]
            committed, created = _together(jobs)
            if not committed.done:
                _run(backend, upload.abort())
            assert committed.done != created.done, "not exactly one of a create and a commit won"
            got = _run(another, another.get(key))
            assert got is not None and got.data == (b"whole" if created.done else _bytes(size, 1))

    # upload

    @pytest.mark.parametrize(
        ("size", "steps"),
        [
            (0, [1]),
            (1, [1]),
            (1000, [7, 1, 0, 300]),
            (WHOLE_LIMIT, [1024 * 1024]),
            (WHOLE_LIMIT + 1, [65_537, 3, 1_000_003]),
            (2 * WHOLE_LIMIT + 12_345, [WHOLE_LIMIT + 7, 1]),
            (2 * WHOLE_LIMIT + 12_345, [2 * WHOLE_LIMIT + 12_345]),
        ],
    )
    def test_upload_is_visible_only_after_commit(
        self, backend: Backend, another: Backend, folder: str, size: int, steps: list[int]
    ) -> None:
        data, key = _bytes(size), folder + "sub/x"
        upload = _run(backend, backend.upload(key, BINARY))
        _write(backend, upload, data, steps)
        for client in (backend, another):
            assert _run(client, client.get(key)) is None
            assert _run(client, client.stat(key)) is None
            assert _all(client, folder + "sub/") == []
            assert _all(client, folder, deep=True) == []
        written = _run(backend, upload.commit())
        assert written.done
        got = _run(another, another.get(key))
        assert got is not None and got.size == size
        assert got.data == data
        assert _all(another, folder, deep=True) == ["sub/x"]
        assert _unfinished(backend, folder) == []

    @pytest.mark.parametrize("size", [0, 1000, WHOLE_LIMIT + 1])
    def test_abort_leaves_nothing(self, backend: Backend, folder: str, size: int) -> None:
        upload = _run(backend, backend.upload(folder + "sub/x", BINARY))
        _write(backend, upload, _bytes(size), [1024 * 1024])
        _run(backend, upload.abort())
        _run(backend, upload.abort())
        assert _all(backend, folder, deep=True) == []
        assert _run(backend, backend.stat(folder + "sub/x")) is None
        assert _unfinished(backend, folder) == []

    @pytest.mark.parametrize("size", [0, 1000, WHOLE_LIMIT + 1])
    def test_commit_over_an_object_leaves_it_whole(
        self, backend: Backend, another: Backend, folder: str, size: int
    ) -> None:
        if size > WHOLE_LIMIT and not self.atomic_complete:
            size = WHOLE_LIMIT
        upload = _run(backend, backend.upload(folder + "x", BINARY))
        _write(backend, upload, _bytes(size), [1024 * 1024])
        assert _run(another, another.create(folder + "x", b"first", BINARY)).done
        assert not _run(backend, upload.commit()).done
        got = _run(another, another.get(folder + "x"))
        assert got is not None and got.data == b"first"
        _run(backend, upload.abort())
        assert _unfinished(backend, folder) == []
        got = _run(another, another.get(folder + "x"))
        assert got is not None and got.data == b"first"

    def test_abort_after_a_commit_takes_nothing_away(self, backend: Backend, folder: str) -> None:
        upload = _run(backend, backend.upload(folder + "x", BINARY))
        _run(backend, upload.write(b"kept"))
        assert _run(backend, upload.commit()).done
        _run(backend, upload.abort())
        got = _run(backend, backend.get(folder + "x"))
        assert got is not None and got.data == b"kept"

    def test_two_uploads_of_one_key_do_not_mix(self, backend: Backend, another: Backend, folder: str) -> None:
        one = _run(backend, backend.upload(folder + "x", BINARY))
        two = _run(another, another.upload(folder + "x", BINARY))
        for _ in range(3):
            _run(backend, one.write(b"1" * 1000))
            _run(another, two.write(b"2" * 1000))
        assert _run(another, two.commit()).done
        assert not _run(backend, one.commit()).done
        _run(backend, one.abort())
        got = _run(backend, backend.get(folder + "x"))
        assert got is not None and got.data == b"2" * 3000

    def test_an_unfinished_upload_is_found_and_discarded(self, backend: Backend, another: Backend, folder: str) -> None:
        _make(backend, [folder + "a/there"])
        upload = _run(backend, backend.upload(folder + "b/x", BINARY))
        _write(backend, upload, _bytes(WHOLE_LIMIT + 1), [1024 * 1024])
        found = _unfinished(another, folder)
        if not self.lists_unfinished:
            assert found == []
            _run(backend, upload.abort())
            return
        assert len(found) == 1 and found[0].key.startswith(folder + "b/")
        assert abs(_run(another, another.now()) - found[0].started) < 600
        assert _unfinished(another, folder + "a/") == []
        _run(another, another.discard(found[0]))
        _run(another, another.discard(found[0]))
        assert _unfinished(another, folder) == []
        with pytest.raises(ArtifactError):
            _run(backend, upload.commit())
        _run(backend, upload.abort())
        assert _all(another, folder, deep=True) == ["a/there"]

    # put and replace

    @pytest.mark.parametrize("once", [False, True], ids=["again", "once"])
    def test_put_stores_over_whatever_is_there(
        self, backend: Backend, another: Backend, folder: str, once: bool
    ) -> None:
        for data in (b"first", b"", b"a longer third one", b"4"):
            written = _run(backend, backend.put(folder + "x", data, BINARY, once=once))
            assert written.done and (written.tries == 1 or not once)
            got = _run(another, another.get(folder + "x"))
            assert got is not None and got.data == data and got.size == len(data)
            assert not written.tag or written.tag == got.tag
        assert _all(backend, folder) == ["x"]

    def test_get_and_stat_agree(self, backend: Backend, folder: str) -> None:
        _run(backend, backend.put(folder + "x", b"12345", BINARY))
        stat, got = _run(backend, backend.stat(folder + "x")), _run(backend, backend.get(folder + "x"))
        assert stat is not None and got is not None
        assert stat == (got.size, got.modified, got.tag)
        entry = _entries(backend, folder)["x"]
        assert entry.size == 5
        assert abs(entry.modified - stat.modified) <= 1, "a listing's time is not that of the object"

    def test_replace_with_the_right_tag_stores(self, backend: Backend, another: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        data = b"first"
        for data in (b"second", b"third", b"fourth, longer than any before it"):
            stat = _run(another, another.stat(folder + "x"))
            assert stat is not None and stat.tag
            written = _run(backend, backend.replace(folder + "x", data, BINARY, stat.tag))
            assert written.done
            got = _run(another, another.get(folder + "x"))
            assert got is not None and got.data == data
            assert not written.tag or written.tag == got.tag

    def test_replace_with_a_stale_tag_changes_nothing(self, backend: Backend, another: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        old = _run(backend, backend.stat(folder + "x"))
        assert old is not None
        assert _run(another, another.replace(folder + "x", b"second", BINARY, old.tag)).done
        assert not _run(backend, backend.replace(folder + "x", b"third.", BINARY, old.tag)).done
        got = _run(backend, backend.get(folder + "x"))
        assert got is not None and got.data == b"second"

    def test_replace_of_a_vanished_object_creates_nothing(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "sub/x"])
        old = _run(backend, backend.stat(folder + "sub/x"))
        assert old is not None
        _run(backend, backend.delete([folder + "sub/x"]))
        assert not _run(backend, backend.replace(folder + "sub/x", b"second", BINARY, old.tag)).done
        assert _run(backend, backend.get(folder + "sub/x")) is None
        assert _all(backend, folder, deep=True) == []

    def test_race_of_replaces_has_one_winner(self, backend: Backend, another: Backend, folder: str) -> None:
        def replacer(who: int, key: str, tag: str) -> tuple[Backend, Callable[[], Coroutine[Any, Any, Written]]]:
            client = (backend, another)[who % 2]
            return client, lambda: client.replace(key, b"by %d" % who, BINARY, tag)

        for turn in range(self.rounds):
            key = f"{folder}{turn}"
            _make(backend, [key])
            stat = _run(backend, backend.stat(key))
            assert stat is not None
            answers = _together([replacer(who, key, stat.tag) for who in range(self.racers)])
            winners = [who for who, written in enumerate(answers) if written.done]
            assert len(winners) == 1, f"{len(winners)} of {self.racers} racing replaces won"
            got = _run(another, another.get(key))
            assert got is not None and got.data == b"by %d" % winners[0]

    def test_race_of_a_reader_with_puts_sees_each_whole(self, backend: Backend, another: Backend, folder: str) -> None:
        key, size = folder + "x", 100_000
        _run(backend, backend.put(key, b"0" * size, BINARY))

        async def write() -> None:
            for i in range(20):
                await backend.put(key, b"%d" % (i % 10) * (size + i), BINARY)

        async def read() -> None:
            for _ in range(20):
                got = await another.get(key)
                assert got is not None and got.size == len(got.data)
                assert set(got.data) == {got.data[0]}, "part of one write and part of another"

        jobs: list[tuple[Backend, Callable[[], Coroutine[Any, Any, None]]]] = [(backend, write), (another, read)]
        _together(jobs)

    # get

    def test_a_missing_object_is_none(self, backend: Backend, folder: str) -> None:
        for key in (folder + "x", folder + "sub/x", folder + "sub/sub/x"):
            assert _run(backend, backend.get(key)) is None
            assert _run(backend, backend.get(key, 2, 5)) is None
            assert _run(backend, backend.stat(key)) is None

    def test_a_folder_is_no_object(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "sub/x"])
        assert _run(backend, backend.get(folder + "sub")) is None
        assert _run(backend, backend.stat(folder + "sub")) is None

    @pytest.mark.parametrize("size", [0, 1, 100, 70_000])
    def test_ranges_are_cut_at_the_end(self, backend: Backend, folder: str, size: int) -> None:
        data = _bytes(size)
        _run(backend, backend.create(folder + "x", data, BINARY))
        middle, past = size // 3, size + 5
        for start, end in (
            (0, None),
            (0, 0),
            (0, 1),
            (0, size),
            (0, past),
            (middle, size // 2),
            (middle, middle),
            (middle, None),
            (max(size - 1, 0), size),
            (max(size - 1, 0), past),
            (size, None),
            (size, past),
            (past, None),
            (past, past + 10),
        ):
            got = _run(backend, backend.get(folder + "x", start, end))
            assert got is not None, (start, end)
            assert got.data == data[start:end], (start, end)
            assert got.size == size, "the size is not that of the whole object"
            assert got.tag and got.modified >= 0

    @pytest.mark.parametrize("data", [bytes(range(256)) * 3, CUT_OFF, CUT_OFF * 2, b"\r\n", b"\0" * 33])
    def test_bytes_come_back_whatever_they_are(self, backend: Backend, folder: str, data: bytes) -> None:
        assert _run(backend, backend.create(folder + "created", data, BINARY)).done
        _run(backend, backend.put(folder + "put", b"", BINARY))
        _run(backend, backend.put(folder + "put", data, BINARY))
        upload = _run(backend, backend.upload(folder + "uploaded", BINARY))
        _write(backend, upload, data, [11])
        assert _run(backend, upload.commit()).done
        for name in ("created", "put", "uploaded"):
            got = _run(backend, backend.get(folder + name))
            assert got is not None and got.data == data and got.size == len(data), name

    def test_a_content_type_with_parameters_is_taken(self, backend: Backend, folder: str) -> None:
        assert _run(backend, backend.create(folder + "x", b"x", "text/plain; charset=utf-8")).done
        assert _run(backend, backend.stat(folder + "x")) is not None

    # list

    def test_a_missing_folder_is_an_empty_page(self, backend: Backend, folder: str) -> None:
        for deep in (False, True):
            assert _run(backend, backend.list(folder, deep=deep)) == Page((), (), None)
            assert _run(backend, backend.list(folder + "sub/", "x", deep=deep)) == Page((), (), None)

    def test_list_of_the_root_shows_the_first_segment(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + "x"])
        assert "conformance/" in _all(backend, "")
        assert folder + "x" in _all(backend, "", deep=True)

    def test_list_shows_one_level_or_all(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + name for name in ("a", "b/1", "b/2/3", "b/2/4", "c/d/e/f", "g")])
        _make(backend, [folder[:-1] + "0/beside"])
        assert _all(backend, folder) == ["a", "b/", "c/", "g"]
        assert list(_entries(backend, folder)) == ["a", "g"]
        assert _all(backend, folder, deep=True) == ["a", "b/1", "b/2/3", "b/2/4", "c/d/e/f", "g"]
        assert _all(backend, folder + "b/") == ["1", "2/"]
        assert _all(backend, folder + "b/", deep=True) == ["1", "2/3", "2/4"]
        assert _entries(backend, folder, deep=True)["b/1"].size == len(folder) + 3

    ORDER = (
        "!2",
        "a!",
        "a+x",
        "a-b/x",
        "a.b",
        "a/x",
        "a0",
        "a0.metadata",
        "aa/x",
        "b",
        "é",
        "日本",
        "\uffef",
        "\U0001f600",
    )

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
    @pytest.mark.parametrize("deep", [False, True], ids=["level", "deep"])
    def test_list_is_in_the_order_of_utf8_bytes_whatever_the_page(
        self, backend: Backend, folder: str, limit: int, deep: bool
    ) -> None:
        _make(backend, [folder + name for name in reversed(self.ORDER)])
        wanted = self.ORDER if deep else [n[:-1] if n.endswith("/x") else n for n in self.ORDER]
        assert _all(backend, folder, deep=deep, limit=limit) == list(wanted)

    @pytest.mark.parametrize("deep", [False, True], ids=["level", "deep"])
    def test_after_begins_behind_a_name_that_need_not_be_there(self, backend: Backend, folder: str, deep: bool) -> None:
        _make(backend, [folder + name for name in self.ORDER])
        wanted = self.ORDER if deep else [n[:-1] if n.endswith("/x") else n for n in self.ORDER]
        for after in (*wanted, "!", "a", "a#", "a00", "a\u00fc", "zz", "\U0001f601"):
            rest = [name for name in wanted if name.encode() > after.encode()]
            assert _all(backend, folder, after, deep=deep) == rest, after
            assert _all(backend, folder, after, deep=deep, limit=2) == rest, after

    def test_after_a_folder_skips_what_is_below_it(self, backend: Backend, folder: str) -> None:
        _make(backend, [folder + name for name in ("a/1", "a/2", "a/3/4", "b", "c/1")])
        assert _all(backend, folder, "a/") == ["b", "c/"]
        assert _all(backend, folder, "a/", limit=1) == ["b", "c/"]
        assert _all(backend, folder, "c/") == []
        assert _all(backend, folder, "a/", deep=True) == ["a/1", "a/2", "a/3/4", "b", "c/1"]
        assert _all(backend, folder, "a/1", deep=True) == ["a/2", "a/3/4", "b", "c/1"]
        assert _all(backend, folder, "a/3/", deep=True, limit=1) == ["a/3/4", "b", "c/1"]

    def test_list_is_fresh_after_every_write(self, backend: Backend, another: Backend, folder: str) -> None:
        names: list[str] = []
        for i in range(5):
            for client in (another, backend):
                assert _all(client, folder) == names, "the listing is stale"
                assert _all(client, folder, deep=True) == names, "the listing is stale"
            assert _run(backend, backend.create(f"{folder}{i}", b"x", BINARY)).done
            names.append(str(i))
        upload = _run(backend, backend.upload(folder + "5", BINARY))
        assert _run(backend, upload.commit()).done
        assert _all(another, folder) == [*names, "5"], "the listing is stale"
        _run(backend, backend.put(folder + "0", b"longer", BINARY))
        assert _entries(another, folder)["0"].size == 6, "the listing is stale"
        _run(backend, backend.delete([folder + "0", folder + "5"]))
        assert _all(another, folder) == names[1:], "the listing is stale"

    def test_a_folder_is_gone_with_its_last_object(self, backend: Backend, another: Backend, folder: str) -> None:
        _make(backend, [folder + "a/b/1", folder + "c"])
        assert _all(another, folder) == ["a/", "c"]
        _run(backend, backend.delete([folder + "a/b/1"]))
        assert _all(another, folder) == ["c"]
        assert _run(backend, backend.create(folder + "a/b/1", b"again", BINARY)).done
        assert _all(another, folder) == ["a/", "c"]

    def test_a_page_of_the_newest_numbers_holds_all_from_its_floor_on(self, backend: Backend, folder: str) -> None:
        published = [f"{number}{end}" for number in range(7, 13) for end in ("", ".metadata")]
        claimed = ["13.metadata", "15.metadata"]
        steps = [
            published,
            claimed,
            ["!9", "007", "99x", "100.metadatb", "1000.x", "x.metadata"],
            ["100", "99.metadata"],
        ]
        told = [_run(backend, backend.list(folder, newest=True))]
        assert told == [Page((), (), None)]
        for names in steps:
            _make(backend, [folder + name for name in names])
            self._newest_numbers_are_told(backend, folder)
        for names in (["100"], ["99.metadata", "12"], published[:8], claimed, ["11", "12.metadata"]):
            _run(backend, backend.delete([folder + name for name in names]))
            self._newest_numbers_are_told(backend, folder)

    def _newest_numbers_are_told(self, backend: Backend, folder: str) -> None:
        page, ordinary = (_run(backend, backend.list(folder, newest=newest)) for newest in (True, False))
        if page != ordinary:
            assert page.next is None and not page.folders
            assert _numbered(page, page.floor) == _numbered(ordinary, page.floor), "a newest number is missing"

    def test_many_keys_are_listed_once_each(self, backend: Backend, another: Backend, folder: str) -> None:
        names = [str(n) for n in range(self.many)]
        _make(backend, [folder + name for name in names])
        assert _all(another, folder) == _order(names)
        assert _all(another, folder, deep=True, limit=700) == _order(names)
        assert _all(another, folder, "15") == _order(name for name in names if name > "15")
        _run(backend, backend.delete([folder + name for name in names]))
        assert _all(another, folder) == []

    # names

    @pytest.mark.parametrize("segment", ODD_SEGMENTS)
    def test_an_odd_name_round_trips(self, backend: Backend, another: Backend, folder: str, segment: str) -> None:
        inside, beside = f"{folder}in/{segment}/0", f"{folder}at/{segment}"
        for key in (inside, beside):
            data = key.encode()
            assert _run(backend, backend.create(key, data, BINARY)).done
            assert not _run(another, another.create(key, b"other", BINARY)).done
            got = _run(another, another.get(key, 1))
            assert got is not None and got.data == data[1:] and got.size == len(data)
            stat = _run(another, another.stat(key))
            assert stat is not None
            assert _run(another, another.replace(key, b"new", BINARY, stat.tag)).done
        assert _all(another, folder + "in/") == [segment + "/"]
        assert _all(another, f"{folder}in/{segment}/") == ["0"]
        assert _all(another, folder + "at/") == [segment]
        assert _all(another, folder + "at/", segment) == []
        assert _all(another, folder, deep=True) == [f"at/{segment}", f"in/{segment}/0"]
        _run(backend, backend.delete([inside, beside]))
        assert _all(another, folder, deep=True) == []
        upload = _run(backend, backend.upload(beside, BINARY))
        _run(backend, upload.write(b"streamed"))
        assert _run(backend, upload.commit()).done
        assert _run(another, another.stat(beside)) is not None

    def test_odd_names_stay_distinct_and_in_order(self, backend: Backend, another: Backend, folder: str) -> None:
        _make(backend, [folder + name for name in ODD_SEGMENTS])
        assert _all(another, folder) == _order(ODD_SEGMENTS)
        assert _all(another, folder, limit=7) == _order(ODD_SEGMENTS)
        for name in ODD_SEGMENTS:
            got = _run(another, another.get(folder + name))
            assert got is not None and got.data == (folder + name).encode(), name
        _run(backend, backend.delete([folder + name for name in ODD_SEGMENTS]))
        assert _all(another, folder) == []

    def test_the_longest_segment_can_be_used(self, backend: Backend, folder: str) -> None:
        longest = "x" * min(backend.max_segment or 255, 255)
        key = f"{folder}{longest}/{longest}"
        upload = _run(backend, backend.upload(key, BINARY))
        _run(backend, upload.write(b"first"))
        assert _run(backend, upload.commit()).done
        assert not _run(backend, backend.create(key, b"second", BINARY)).done
        _run(backend, backend.put(key, b"third", BINARY))
        assert _all(backend, folder, deep=True) == [f"{longest}/{longest}"]
        _run(backend, backend.delete([key]))
        assert _all(backend, folder) == []

    # delete and time

    def test_delete_takes_these_and_no_others(self, backend: Backend, another: Backend, folder: str) -> None:
        keys = [f"{folder}{n}/{m}" for n in range(3) for m in range(4)]
        _make(backend, keys)
        _run(backend, backend.delete([]))
        _run(backend, backend.delete([*keys[:6], folder + "missing", folder + "not/there", folder + "0"]))
        assert [folder + name for name in _all(another, folder, deep=True)] == keys[6:]
        _run(backend, backend.delete(keys[:8]))
        assert [folder + name for name in _all(another, folder, deep=True)] == keys[8:]
        assert _run(another, another.get(keys[0])) is None

    def test_time_is_by_the_clock_that_dates_objects(self, backend: Backend, another: Backend, folder: str) -> None:
        before = _run(backend, backend.now())
        _make(backend, [folder + "x"])
        stat, now = _run(another, another.stat(folder + "x")), _run(another, another.now())
        assert stat is not None
        if self.single_writer and not stat.modified:
            return  # such a store need not date its objects
        # Stores tell whole seconds, some rounded down.
        assert before - 2 <= stat.modified <= now + 2

    def test_a_probe_leaves_nothing_behind(self, backend: Backend, folder: str) -> None:
        seen = _run(backend, backend.probe(folder))
        assert set(seen) <= {"atomic", "racy", "ignored", "refused"}
        assert backend.abilities is None or seen == backend.abilities
        assert _all(backend, folder, deep=True) == []
        assert _unfinished(backend, folder) == []
