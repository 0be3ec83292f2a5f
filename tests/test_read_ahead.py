"""Readers fetch what is asked for at a new place, more where reading goes on, and give the file's bytes whatever is done."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import itertools
import pickle
import random
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactfs import ArtifactReader, ArtifactStore, AsyncArtifactStore, files
from artifactfs.backends.memory import MemoryBackend
from artifactfs.errors import BackendUnavailable
from artifactfs.fetching import NEAR, RANGE
from artifactfs.read_ahead import LEAST, MOST, ReadAhead
from artifactfs.testing.counting import store_over

KIB, MIB = 1024, 1024 * 1024

# Lines of many lengths; no part of it looks like another.
_random = random.Random(4)
DATA = b"\n".join(_random.randbytes(_random.choice([0, 1, 80, 5_000, 70_000])).replace(b"\n", b"") for _ in range(200))
assert 2_600_000 < len(DATA) < 4_000_000

Ranges = list[tuple[int, int]]


class Ranged:
    """A memory backend that keeps the ranges of payloads that were asked for in `asked`."""

    def __init__(self) -> None:
        self._inner = MemoryBackend(f"memory://ranged-{id(self)}")
        self.asked: Ranges = []
        self.placement = self._inner.placement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Any:
        got = await self._inner.get(key, start, end)
        if end is not None:
            self.asked.append((start, end))
        return got

    def moved(self) -> int:
        return sum(end - start for start, end in self.asked)


class Shelf:
    """One artifact in a store that tells the ranges it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.backend = Ranged()
        self.size = len(data)
        store_over(self.backend, ArtifactStore).scope("shop", "alice", "s1").save("x", data)

    @property
    def asked(self) -> Ranges:
        return self.backend.asked

    def open(self) -> ArtifactReader:
        reader = store_over(self.backend, ArtifactStore).scope("shop", "alice", "s1").open("x")
        self.backend.asked = []
        return reader

    async def aopen(self) -> Any:
        reader = await store_over(self.backend, AsyncArtifactStore).scope("shop", "alice", "s1").open("x")
        self.backend.asked = []
        return reader


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf(DATA)


@pytest.fixture(scope="module")
def long_shelf() -> Shelf:
    return Shelf(b"\n".join(b"%099d" % number for number in range(1_000_000)))


def fetching(data: bytes) -> tuple[Callable[[int, int], bytes], Ranges]:
    asked: Ranges = []

    def fetch(start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(data), "a range is inside the file"
        asked.append((start, end))
        return data[start:end]

    return fetch, asked


# what is fetched


def test_a_read_at_a_new_place_fetches_exactly_its_bytes() -> None:
    ahead = ReadAhead(10 * MIB)
    for start, end in [(5 * MIB, 5 * MIB + 1), (100, 3_000_000), (10 * MIB - 8, 10 * MIB), (MIB, 7 * MIB)]:
        assert ahead.missing(start, end) == (start, end)
        ahead.keep(start, bytes(end - start))
        assert len(ahead.take(start, end)) == end - start


def test_the_beginning_of_a_file_is_that_of_a_sequence() -> None:
    assert ReadAhead(10 * MIB).missing(0, 4) == (0, LEAST)
    assert ReadAhead(10 * MIB).missing(0, MIB) == (0, MIB)


def test_as_much_is_fetched_as_was_read_in_sequence() -> None:
    fetch, asked = fetching(DATA * 10)
    ahead = ReadAhead(len(DATA) * 10)
    place = 12_345
    for start in range(place, len(DATA) * 10, 1000):
        ahead.read(start, start + 1000, fetch)
    sizes = [end - start for start, end in asked]
    assert sizes[:2] == [1000, LEAST]
    assert all(start == end for (_, end), (start, _) in itertools.pairwise(asked)), "each goes on"
    assert all(size <= max(start - place, LEAST, 1000) for (start, _), size in zip(asked, sizes, strict=True))
    assert max(sizes) == MOST and sizes[:-1] == sorted(sizes[:-1])


@given(st.integers(0, 20 * LEAST), st.lists(st.integers(1, 10 * LEAST), min_size=1, max_size=30))
def test_a_sequence_never_moves_more_than_twice_its_bytes_and_the_least(start: int, sizes: list[int]) -> None:
    fetch, asked = fetching(DATA)
    ahead, used = ReadAhead(len(DATA)), 0
    for size in sizes:
        used += len(ahead.read(start + used, start + used + size, fetch))
    assert sum(end - begin for begin, end in asked) <= 2 * used + LEAST


def test_only_what_is_missing_behind_the_held_bytes_is_fetched() -> None:
    fetch, asked = fetching(DATA)
    ahead = ReadAhead(len(DATA))
    assert ahead.read(0, 10, fetch) == DATA[:10]
    # A new place, whose beginning is held.
    assert ahead.read(50_000, 70_000, fetch) == DATA[50_000:70_000]
    assert asked == [(0, LEAST), (LEAST, 70_000)]
    # That goes on.
    assert ahead.read(70_000, 70_100, fetch) == DATA[70_000:70_100]
    assert ahead.read(70_100, 200_000, fetch) == DATA[70_100:200_000]
    so_far = 70_000 + LEAST - 50_000
    assert asked[2:] == [(70_000, 70_000 + LEAST), (70_000 + LEAST, 70_000 + LEAST + so_far)]


def test_held_bytes_are_given_without_a_fetch() -> None:
    fetch, asked = fetching(DATA)
    ahead = ReadAhead(len(DATA))
    ahead.read(MIB, MIB + 1000, fetch)
    for start, end in [(MIB, MIB + 1000), (MIB + 1, MIB + 2), (MIB + 500, MIB + 1000), (MIB, MIB)]:
        assert ahead.missing(start, end) is None
        assert ahead.take(start, end) == DATA[start:end]
    assert asked == [(MIB, MIB + 1000)]


@pytest.mark.parametrize("place", [0, 1, 30_000, LEAST - 8])
def test_a_small_file_is_fetched_at_once(place: int) -> None:
    fetch, asked = fetching(DATA[:LEAST])
    ahead = ReadAhead(LEAST)
    assert ahead.read(place, place + 4, fetch) == DATA[place : place + 4]
    assert ahead.read(0, LEAST + 5, fetch) == DATA[:LEAST]
    assert asked == [(0, LEAST)]


def test_a_callers_least_is_what_every_fetch_takes() -> None:
    ahead = ReadAhead(len(DATA), least=100_000)
    assert ahead.missing(MIB, MIB + 5) == (MIB, MIB + 100_000)
    assert ahead.missing(0, 200_000) == (0, 200_000)
    assert ahead.missing(len(DATA) - 5, len(DATA) + 5) == (len(DATA) - 5, len(DATA))


def test_behind_the_end_there_is_nothing_to_fetch() -> None:
    fetch, asked = fetching(DATA)
    ahead = ReadAhead(len(DATA))
    assert ahead.read(len(DATA), len(DATA) + 10, fetch) == ahead.read(len(DATA) + 5, len(DATA) + 9, fetch) == b""
    assert ReadAhead(0).read(0, 10, fetch) == b""
    assert asked == []


def test_a_fetch_that_failed_is_tried_again_by_the_next_read() -> None:
    def broken(start: int, end: int) -> bytes:
        raise ConnectionError

    fetch, asked = fetching(DATA)
    ahead = ReadAhead(len(DATA))
    ahead.read(0, 10, fetch)
    with pytest.raises(ConnectionError):
        ahead.read(60_000, 70_000, broken)
    assert ahead.read(60_000, 70_000, fetch) == DATA[60_000:70_000]
    assert asked == [(0, LEAST), (LEAST, 70_000)]


@pytest.mark.parametrize("size", [1, 100, 8 * KIB, LEAST - 1, LEAST, LEAST + 1, 3 * LEAST + 5, 1_000_000])
@pytest.mark.parametrize("into", [False, True])
def test_seek_and_read_is_one_request_for_exactly_those_bytes(shelf: Shelf, size: int, into: bool) -> None:
    with shelf.open() as file:
        for place in (LEAST + 7, 1_500_000, 300, shelf.size - size):
            file.seek(place)
            if into:
                target = bytearray(size)
                assert file.readinto(target) == size
            else:
                target = bytearray(file.read(size))
            assert target == DATA[place : place + size]
            assert shelf.asked == [(place, place + size)]
            shelf.asked.clear()


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("into", [False, True])
def test_a_read_at_a_new_place_that_is_partly_held_is_one_request_for_the_rest(
    shelf: Shelf, size: int, into: bool
) -> None:
    with shelf.open() as file:
        for _ in range(140):
            file.read(1000)
        held = 4 * LEAST
        assert shelf.asked == [(0, LEAST), (LEAST, 2 * LEAST), (2 * LEAST, held)]
        place = held - 50
        file.seek(place)
        target = bytearray(size)
        if into:
            assert file.readinto(target) == size
        else:
            target[:] = file.read(size)
        assert target == DATA[place : place + size]
        assert shelf.asked[3:] == [(held, place + size)]


def test_who_looks_at_the_beginning_first_still_reads_in_sequence(shelf: Shelf) -> None:
    """As those do who find out what a file is: a seek within what was just read is no new place."""
    with shelf.open() as file:
        file.read(4)
        file.seek(0)
        for _ in range(20):
            file.read(8 * KIB)
    assert shelf.asked == [(0, LEAST), (LEAST, 2 * LEAST), (2 * LEAST, 4 * LEAST)]


@pytest.mark.parametrize("size", [1, 999, 8 * KIB, 300_000, MIB])
def test_a_sequence_takes_few_requests_however_short_its_reads(long_shelf: Shelf, size: int) -> None:
    with long_shelf.open() as file:
        for _ in range(200_000) if size < 1000 else iter(lambda: file.read(size), b""):
            file.read(size)
        read = file.tell()
    growing = (NEAR // LEAST).bit_length()
    assert len(long_shelf.asked) <= growing + read // NEAR + 2
    assert long_shelf.backend.moved() <= 2 * read + LEAST


def test_reading_all_is_one_request(long_shelf: Shelf) -> None:
    with long_shelf.open() as file:
        assert len(file.read()) == long_shelf.size
    assert long_shelf.asked == [(0, long_shelf.size)]


@pytest.mark.parametrize("how", ["lines", "text", "csv", "read1"])
def test_lines_and_text_take_few_requests(long_shelf: Shelf, how: str) -> None:
    with long_shelf.open() as file:
        match how:
            case "lines":
                assert sum(1 for _ in file) == 1_000_000
            case "text":
                assert sum(1 for _ in io.TextIOWrapper(file, "ascii")) == 1_000_000
            case "csv":
                assert sum(1 for _ in csv.reader(io.TextIOWrapper(file, "ascii"))) == 1_000_000
            case "read1":
                assert sum(len(piece) for piece in iter(lambda: file.read1(5000), b"")) == long_shelf.size
    assert len(long_shelf.asked) <= 8 + long_shelf.size // NEAR
    assert long_shelf.backend.moved() == long_shelf.size


# what libraries do


def test_gzipped_csv_by_lines_moves_each_byte_once() -> None:
    chance = random.Random(1)
    rows = [[str(chance.random()) for _ in range(5)] for _ in range(30_000)]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    shelf = Shelf(gzip.compress(text.getvalue().encode()))
    with shelf.open() as file, gzip.open(file, "rt", newline="") as plain:
        assert list(csv.reader(plain)) == rows
    assert shelf.backend.moved() == shelf.size > 10 * LEAST
    assert len(shelf.asked) <= 6


def test_an_entry_of_a_zip_file_costs_the_directory_and_the_entry() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(40):
            archive.writestr(f"{number}.bin", DATA[number : number + 500_000])
    shelf = Shelf(made.getvalue())
    with shelf.open() as file, zipfile.ZipFile(file) as archive:
        assert archive.read("20.bin") == DATA[20:500_020]
    assert shelf.backend.moved() < 1.2 * 500_000 + 2 * LEAST < shelf.size / 10
    assert len(shelf.asked) <= 10


def test_unpickling_takes_few_requests_though_it_reads_by_single_bytes() -> None:
    things = {number: [str(number), number / 7] for number in range(60_000)}
    shelf = Shelf(pickle.dumps(things))
    with shelf.open() as file:
        assert pickle.load(file) == things
    assert shelf.backend.moved() == shelf.size and len(shelf.asked) <= 7


@pytest.mark.parametrize("pre_buffer", [False, True])
def test_a_column_of_a_parquet_file_moves_hardly_more_than_the_column(pre_buffer: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(2)
    rows, groups = 4000, 20
    columns = {
        f"c{number}": pa.array([chance.random() for _ in range(rows * groups)] if number % 2 else range(rows * groups))
        for number in range(8)
    }
    made = io.BytesIO()
    pq.write_table(pa.table(columns), made, row_group_size=rows, compression="none")
    shelf = Shelf(made.getvalue())
    metadata = pq.read_metadata(made)
    chunks = [metadata.row_group(number).column(3) for number in range(metadata.num_row_groups)]
    assert len(chunks) == groups
    needed = sum(chunk.total_compressed_size for chunk in chunks) + max(metadata.serialized_size + 8, LEAST)
    with shelf.open() as file:
        read = pq.read_table(file, columns=["c3"], pre_buffer=pre_buffer)
    assert read["c3"].combine_chunks() == columns["c3"]
    assert needed <= shelf.backend.moved() < 1.2 * needed < shelf.size / 3
    assert len(shelf.asked) <= groups + 2


# what is given

_places = st.integers(0, len(DATA) + 10) | st.sampled_from([0, LEAST - 1, LEAST, LEAST + 1, 2 * LEAST, len(DATA) - 5])
_sizes = st.integers(0, 300) | st.integers(0, 5 * LEAST) | st.sampled_from([-1, LEAST - 1, LEAST, LEAST + 1])
_READS = ["read", "readline", "readinto", "peek", "read1", "readinto1"]
_steps = st.tuples(st.sampled_from([*_READS, "read", "readinto", "seek", "move", "from the end"]), _places, _sizes)


def agree(file: Any, steps: list[tuple[str, int, int]]) -> None:
    """Whether *file* does what a file in memory does."""
    model = io.BytesIO(DATA)
    for what, place, size in steps:
        match what:
            case "seek":
                assert file.seek(place) == model.seek(place)
            case "move":  # by a little, in both directions
                by = max(size - 2 * LEAST, -model.tell())
                assert file.seek(by, io.SEEK_CUR) == model.seek(by, io.SEEK_CUR)
            case "from the end":
                assert file.seek(-min(place, len(DATA)), io.SEEK_END) == model.seek(-min(place, len(DATA)), io.SEEK_END)
            case "peek":
                there = file.peek(size)
                rest = DATA[model.tell() :]
                assert rest.startswith(there) and bool(there) == bool(rest)
            case "readinto":
                target, wanted = bytearray(max(size, 0)), bytearray(max(size, 0))
                assert (file.readinto(target), target) == (model.readinto(wanted), wanted)
            case "readinto1":
                target = bytearray(max(size, 0))
                count = file.readinto1(target)
                assert target[:count] == model.read(count)
                assert count or not target or not model.read(1)
            case "read1":
                given = file.read1(size)
                assert given == model.read(len(given))
                assert given or not size or not model.read(1)
            case _:
                assert getattr(file, what)(size) == getattr(model, what)(size)
        if size % 2:  # to ask changes what a buffer remembers
            assert file.tell() == model.tell()


def test_a_seek_behind_a_long_read_and_a_short_one_is_to_the_place_that_was_named(shelf: Shelf) -> None:
    with shelf.open() as file:
        file.read(LEAST)
        file.read(100)
        file.seek(LEAST - 500)
        assert file.read(16) == DATA[LEAST - 500 : LEAST - 484]
        file.seek(10)
        file.read()
        file.seek(LEAST)
        file.read(4)
        file.seek(100)
        assert file.read(16) == DATA[100:116]


@given(st.lists(_steps, max_size=30))
def test_a_reader_gives_what_a_file_in_memory_gives(shelf: Shelf, steps: list[tuple[str, int, int]]) -> None:
    with shelf.open() as file:
        agree(file, steps)
    assert all(0 <= start < end <= shelf.size for start, end in shelf.asked)


def _fixed_steps() -> Iterator[tuple[str, int, int]]:
    chance = random.Random(8)
    for _ in range(300):
        size = chance.choice([chance.randrange(300), chance.randrange(5 * LEAST)])
        yield chance.choice([*_READS, "read", "seek", "move"]), chance.randrange(len(DATA)), size


def _joined_wrongly(self: ReadAhead, at: int, data: bytes, good: Any = ReadAhead.keep) -> None:
    good(self, at, data[1:] + b"?" if self._held else data)


def _given_wrongly(self: ReadAhead, start: int, target: Any, good: Any = ReadAhead.give) -> int:
    return int(good(self, max(start - 1, 0) if start > LEAST else start, target))


@pytest.mark.parametrize(("method", "wrong"), [("keep", _joined_wrongly), ("give", _given_wrongly)])
def test_that_comparison_catches_a_place_that_is_wrong_by_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, method: str, wrong: Any
) -> None:
    """The control."""
    with shelf.open() as file:
        agree(file, list(_fixed_steps()))
    monkeypatch.setattr(ReadAhead, method, wrong)
    with pytest.raises(AssertionError), shelf.open() as file:
        agree(file, list(_fixed_steps()))


_awaited = st.lists(st.tuples(st.sampled_from(["read", "read", "seek"]), _places, _sizes), max_size=20)


@given(_awaited)
def test_an_awaited_reader_gives_the_same(shelf: Shelf, steps: list[tuple[str, int, int]]) -> None:
    async def main() -> None:
        model = io.BytesIO(DATA)
        async with await shelf.aopen() as file:
            for what, place, size in steps:
                if what == "seek":
                    assert file.seek(place) == model.seek(place)
                else:
                    assert await file.read(size) == model.read(size)
                assert file.tell() == model.tell()

    asyncio.run(main())


def test_an_awaited_reader_asks_for_the_same(shelf: Shelf) -> None:
    async def main() -> None:
        async with await shelf.aopen() as file:
            file.seek(MIB)
            await file.read(1000)
            file.seek(-8, io.SEEK_END)
            await file.read(8)
            file.seek(300_000)
            for _ in range(3):
                await file.read(50_000)

    asyncio.run(main())
    assert shelf.asked[:3] == [(MIB, MIB + 1000), (shelf.size - 8, shelf.size), (300_000, 350_000)]
    assert shelf.asked[3:] == [(350_000, 350_000 + LEAST), (350_000 + LEAST, 2 * (350_000 + LEAST) - 300_000)]


@pytest.mark.parametrize("size", [9_999, 70_001])
def test_threads_and_tasks_that_share_a_reader_each_get_whole_pieces(shelf: Shelf, size: int) -> None:
    pieces: list[bytes] = []
    with shelf.open() as file:

        def work() -> None:
            while piece := file.read(size):
                pieces.append(piece)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async def main() -> list[bytes]:
        async with await shelf.aopen() as file:
            return list(await asyncio.gather(*(file.read(size) for _ in range(len(DATA) // size + 1))))

    whole = sorted(DATA[at : at + size] for at in range(0, len(DATA), size))
    assert sorted(pieces) == whole == sorted(asyncio.run(main()))


def _by_reading(file: Any, size: int) -> bytes:
    return bytes(file.read(size))


def _by_filling(file: Any, size: int) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: file.readinto(buffer)])


def _pieces_of_threads(file: Any) -> list[bytes]:
    """What four threads read that share *file*, each in pieces of all sizes; what fails is no piece of the data."""
    pieces: list[bytes] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while True:
            way = chance.choice([_by_reading, _by_filling])
            try:
                piece = way(file, chance.choice([40, 4096, LEAST, LEAST + 1, 100_000]))
            except ValueError as error:
                pieces.append(str(error).encode())
                return
            if not piece:
                return
            pieces.append(piece)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return pieces


def test_threads_that_share_a_reader_tear_no_piece_whatever_its_size(shelf: Shelf) -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            with shelf.open() as file:
                pieces = _pieces_of_threads(file)
            assert sum(map(len, pieces)) == len(DATA)
            assert all(piece in DATA for piece in pieces)
    finally:
        sys.setswitchinterval(usual)


def test_a_reader_without_its_lock_is_torn_by_another_thread(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: another thread reads twice, between the steps of a long read."""
    read = files._read
    here = threading.current_thread()
    others: list[bytes] = []

    def by_another(size: int) -> None:
        thread = threading.Thread(target=lambda: others.append(file.read(size)))
        thread.start()
        thread.join()

    def tell() -> int:
        place = ArtifactReader.tell(file)
        del file.tell
        by_another(1000)
        return place

    def read_a_step(reader: Any, *size: int) -> bytes:
        data = read(reader, *size)
        if threading.current_thread() is here and len(others) == 1:
            by_another(1000)
        return data

    with shelf.open() as file:
        file._turn = nullcontext()  # type: ignore[assignment]
        file.tell = tell  # type: ignore[method-assign]
        monkeypatch.setattr(files, "_read", read_a_step)
        piece = file.read(100_000)
    assert len(others) == 2 and all(other in DATA for other in others)
    assert piece not in DATA


@pytest.mark.parametrize("size", [100, 200_000, -1])
def test_an_answer_that_is_cut_off_is_an_error_and_not_the_end_of_the_file(shelf: Shelf, size: int) -> None:
    get = shelf.backend.get

    async def cut(key: str, start: int = 0, end: int | None = None) -> Any:
        got = await get(key, start, end)
        return got._replace(data=got.data[:50]) if end is not None else got

    with shelf.open() as file:
        shelf.backend.get = cut  # type: ignore[method-assign]
        try:
            with pytest.raises(BackendUnavailable, match="only 50 bytes"):
                file.read(size)
        finally:
            shelf.backend.get = get  # type: ignore[method-assign]
        assert file.read(size) == (DATA if size < 0 else DATA[:size])


# memory


def test_a_reader_holds_no_more_than_it_reads_ahead(long_shelf: Shelf) -> None:
    """Both sizes are such that what is fetched is joined to what is held: a copy, for that moment."""
    with long_shelf.open() as file:
        file.read(1)
        tracemalloc.start()
        try:
            assert len(file.read(20 * MIB)) == 20 * MIB
            held, most = tracemalloc.get_traced_memory()
            assert held < MIB, "what a long read gave is the caller's alone"
            assert most < 2 * 20 * MIB + MIB
            tracemalloc.reset_peak()
            while file.read(100_000):
                assert tracemalloc.get_traced_memory()[0] < MOST + MIB
            assert tracemalloc.get_traced_memory()[1] < 2 * MOST + MIB
        finally:
            tracemalloc.stop()


# over a network

FAR = b"".join(number.to_bytes(1024, "big") for number in range(30 * 1024))


def far_shelf() -> Shelf:
    shelf = Shelf(FAR)
    shelf.backend.placement = "loop"
    return shelf


def test_over_a_network_a_long_sequence_is_fetched_before_it_is_asked_for() -> None:
    shelf, read = far_shelf(), bytearray()
    with shelf.open() as file:
        while piece := file.read(MIB):
            read += piece
            assert shelf.backend.moved() <= 2 * len(read) + LEAST
    assert read == FAR and shelf.backend.moved() == len(FAR)
    assert sum(end - start == RANGE for start, end in shelf.asked) > 5  # those that nobody had asked for yet


def test_what_was_fetched_before_is_given_up_where_reading_goes_elsewhere() -> None:
    with far_shelf().open() as file:
        for _ in range(14):
            file.read(MIB)
        for place in (3, 18 * MIB + 5, 15 * MIB):
            file.seek(place)
            assert file.read(3 * MIB) == FAR[place : place + 3 * MIB]
        assert file.read() == FAR[18 * MIB :]


def test_awaited_it_is_the_same() -> None:
    async def reading() -> bytes:
        shelf = far_shelf()
        read = bytearray()
        async with await shelf.aopen() as file:
            while piece := await file.read(MIB):
                read += piece
                assert shelf.backend.moved() <= 2 * len(read) + LEAST
            file.seek(15 * MIB)
            assert await file.read(4 * MIB) == FAR[15 * MIB : 19 * MIB]
        return bytes(read)

    assert asyncio.run(reading()) == FAR
