"""The memory backend keeps every promise of a backend, and the conformance suite catches what breaks one."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from artifactfs.backends.base import Page, Written
from artifactfs.backends.memory import MemoryBackend
from artifactfs.backends.memory_keys import Keys
from artifactfs.errors import BackendError, InvalidConfig
from artifactfs.testing.backend import BINARY, BackendConformance, _gathered, _run, _together


def fresh_url() -> str:
    return f"memory://{uuid.uuid4().hex}"


class TestMemory(BackendConformance):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(fresh_url())

    @pytest.fixture
    def another(self, backend: MemoryBackend) -> MemoryBackend:
        return MemoryBackend(backend.url)


class TestMemoryBelowAPrefixInSmallPages(BackendConformance):
    many = 300

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(fresh_url() + "/some/prefix/", page_size=3)

    @pytest.fixture
    def another(self, backend: MemoryBackend) -> MemoryBackend:
        return MemoryBackend(backend.url.rstrip("/"))


# planted faults: the suite must catch each


class CheckThenWrite(MemoryBackend):
    """Looks first and writes then; the barrier lets two creators look before either writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gap = threading.Barrier(2)

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if await self.stat(key) is not None:
            return Written(False)
        try:
            self.gap.wait(timeout=0.2)
        except threading.BrokenBarrierError:
            self.gap.reset()
        return await self.put(key, data, content_type)


class Stale(MemoryBackend):
    """Remembers its first answer for a listing."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.seen: dict[tuple[str, str, bool], Page] = {}

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        if (folder, after, deep) not in self.seen:
            self.seen[folder, after, deep] = await super().list(folder, after, deep=deep, limit=limit, newest=newest)
        return self.seen[folder, after, deep]


class Overwriting(MemoryBackend):
    """Ignores that an object is there when the data is empty, as `open(path, "xb")` of s3fs does."""

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        return await (super().create(key, data, content_type) if data else self.put(key, data, content_type))


class CutOff(MemoryBackend):
    """Ends a body at the boundary that gcsfs uses."""

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        return await super().create(key, data.partition(b"\r\n--==0==--")[0], content_type)


class LosesBehindFolders(MemoryBackend):
    """Goes on inside the folder that ended the page before."""

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        return await super().list(folder, after.rstrip("/"), deep=deep, limit=limit)


class PassesClaimsOver(MemoryBackend):
    """Takes the newest payload for the highest number."""

    async def list(self, folder: str, *args: Any, newest: bool = False, **kwargs: Any) -> Page:
        page = await super().list(folder, *args, newest=newest, **kwargs)
        payloads = [int(entry.name) for entry in page.entries if entry.name.isdecimal()]
        if not newest or not payloads:
            return page
        number = max(payloads)
        return Page(
            tuple(one for one in page.entries if one.name in (f"{number}", f"{number}.metadata")), (), None, number
        )


class UnlockedReplace(MemoryBackend):
    """Never looks at the tag."""

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        return await self.put(key, data, content_type)


@pytest.mark.parametrize("run", [_together, _gathered])
def test_suite_catches_a_create_that_checks_and_then_writes(run: Any) -> None:
    backend = CheckThenWrite(fresh_url())
    with pytest.raises(AssertionError, match="racing creators won"):
        BackendConformance().test_race_of_creators_has_one_winner(backend, backend, "f/", run, 300)


def test_suite_catches_a_stale_listing() -> None:
    backend = Stale(fresh_url())
    with pytest.raises(AssertionError, match="stale"):
        BackendConformance().test_list_is_fresh_after_every_write(backend, backend, "f/")


def test_suite_catches_an_empty_create_that_overwrites() -> None:
    backend = Overwriting(fresh_url())
    with pytest.raises(AssertionError):
        BackendConformance().test_create_never_overwrites(backend, backend, "f/", b"first", 0)


def test_suite_catches_a_payload_that_is_cut_off() -> None:
    with pytest.raises(AssertionError, match="created"):
        BackendConformance().test_bytes_come_back_whatever_they_are(
            CutOff(fresh_url()), "f/", b"before\r\n--==0==--\r\nafter"
        )


def test_suite_catches_a_page_that_repeats_its_last_folder() -> None:
    with pytest.raises(AssertionError, match="does not sort after"):
        BackendConformance().test_after_a_folder_skips_what_is_below_it(LosesBehindFolders(fresh_url()), "f/")


def test_suite_catches_a_page_of_the_newest_without_the_claims_above_them() -> None:
    with pytest.raises(AssertionError, match="a newest number is missing"):
        BackendConformance().test_a_page_of_the_newest_numbers_holds_all_from_its_floor_on(
            PassesClaimsOver(fresh_url()), "f/"
        )


def test_suite_catches_a_replace_that_ignores_the_tag() -> None:
    backend = UnlockedReplace(fresh_url())
    with pytest.raises(AssertionError):
        BackendConformance().test_replace_with_a_stale_tag_changes_nothing(backend, backend, "f/")
    with pytest.raises(AssertionError, match="racing replaces won"):
        BackendConformance().test_race_of_replaces_has_one_winner(backend, backend, "f/")


def test_suite_catches_a_backend_that_suspends_where_it_must_not() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="suspended"):
        _run(MemoryBackend(fresh_url()), waits())


# what is the memory backend's own


def test_a_prefix_is_a_view_into_the_same_root() -> None:
    url = fresh_url()
    root, below = MemoryBackend(url), MemoryBackend(url + "/a/b")
    assert _run(below, below.create("x", b"1", BINARY)).done
    assert not _run(root, root.create("a/b/x", b"2", BINARY)).done
    assert [entry.name for entry in _run(root, root.list("", deep=True)).entries] == ["a/b/x"]
    elsewhere = MemoryBackend(fresh_url())
    assert _run(elsewhere, elsewhere.get("a/b/x")) is None


def test_every_write_has_a_tag_of_its_own_and_time_never_runs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend(fresh_url())
    clock = iter([100.0, 50.0, 150.0, 149.0])
    monkeypatch.setattr("artifactfs.backends.memory.time.time", lambda: next(clock))
    stats = []
    for _ in range(3):
        _run(backend, backend.put("x", b"same", BINARY))
        stats.append(_run(backend, backend.stat("x")))
    assert len({stat.tag for stat in stats if stat}) == 3
    assert [stat.modified for stat in stats if stat] == [100.0, 100.0, 150.0]
    assert _run(backend, backend.now()) == 150.0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_copy_even_while_others_write() -> None:
    backend = MemoryBackend(fresh_url())
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            _run(backend, backend.create(f"busy/{n}", b"x", BINARY))
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(10):
            child = os.fork()
            if child == 0:
                page = _run(backend, backend.list("child/"))
                done = _run(backend, backend.create("child/x", b"x", BINARY)).done
                os._exit(0 if done and page == Page((), (), None) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, turn
    finally:
        stop.set()
        writer.join()
    assert _run(backend, backend.get("child/x")) is None


def test_a_wrong_url_or_page_size_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="memory://name/prefix"):
        MemoryBackend("s3://bucket")
    with pytest.raises(InvalidConfig, match="page_size"):
        MemoryBackend(page_size=0)


def test_signing_and_an_ended_upload_say_what_to_do() -> None:
    backend = MemoryBackend(fresh_url())
    with pytest.raises(BackendError, match="cannot sign"):
        _run(backend, backend.sign("x", 60))
    upload = _run(backend, backend.upload("x", BINARY))
    _run(backend, upload.abort())
    with pytest.raises(BackendError, match="save again"):
        _run(backend, upload.commit())


def test_keys_kept_by_folder_are_those_of_one_sorted_list() -> None:
    """Keys come and go at random; every listing from every place is that of all keys, sorted."""
    chance = random.Random(7)
    names = ["a", "a!", "a.b", "b", "0", "10", "9", "é"]
    keys, model = Keys(), set[str]()
    for _ in range(600):
        key = "/".join(chance.choices(names, k=chance.randint(1, 3)))
        if any(other != key and (other.startswith(key + "/") or key.startswith(other + "/")) for other in model):
            continue
        (keys.remove if key in model else keys.add)(key)
        model ^= {key}
        folder = "/".join(chance.choices(names, k=chance.randint(0, 2)))
        base = folder and folder + "/"
        inside = sorted(other[len(base) :] for other in model if other.startswith(base))
        after = chance.choice(["", *inside, *names])
        assert list(keys.walk(folder, after)) == [name for name in inside if name > after]
        level = sorted({head + slash for head, slash, _ in (name.partition("/") for name in inside)})
        low = after.partition("/")[0] + "/" if "/" in after else after
        assert list(keys.level(folder, after)) == [name for name in level if name > low]


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("doing", ["create", "list", "delete"])
def test_an_interrupt_anywhere_leaves_what_is_stored_and_what_is_listed_the_same(
    doing: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = MemoryBackend(fresh_url())
    steps: dict[str, Callable[[], Any]] = {
        "create": lambda: backend.create("c/d/new", b"", BINARY),
        "list": lambda: backend.list("a/b/"),
        "delete": lambda: backend.delete(["a/b/1"]),
    }
    for number in range(4):
        _run(backend, backend.create(f"a/b/{number}", b"", BINARY))
    left = step

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename.endswith("memory_keys.py"):
            left -= event == "line"
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt):
            _run(backend, steps[doing]())
    finally:
        sys.settrace(before)
    listed = [entry.name for entry in _run(backend, backend.list("", deep=True)).entries]
    assert listed == sorted(backend._root.objects)
    _run(backend, backend.delete(listed))
    assert _run(backend, backend.list("", deep=True)) == Page((), (), None)
