"""The promises of a codec, as tests: subclass `CodecConformance` and give one fixture.

class TestMyCodec(CodecConformance):
    authenticates = True

    @pytest.fixture
    def codec(self):
        return MyCodec(key)
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from artifactfs.codecs.base import Bytes, Codec, decode_whole, encode_whole
from artifactfs.errors import IntegrityError

UNIT = 16 * 1024
"""Bytes: codecs work in units of this size or of a part of it, so the suite looks hardest at its multiples."""

SIZES = (0, 1, 15, 1000, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT - 1, 2 * UNIT, 2 * UNIT + 1, 100_000)


def _bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def _cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """*data* in pieces of these *sizes*, over and over."""
    at = 0
    for step in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + step]
        at += step


def _encoded(codec: Codec, pieces: Iterable[Bytes]) -> bytes:
    encoder = codec.encoder()
    return b"".join([encoder.update(piece) for piece in pieces]) + encoder.finish()


def _units(codec: Codec, size: int) -> list[tuple[int, int]]:
    """From where to where each unit of the stored bytes lies that opens alone."""
    return sorted({codec.span(at, at + 1, size) for at in range(0, size, 512)})


def _swapped(data: bytes, one: tuple[int, int], other: tuple[int, int]) -> bytes:
    (a, b), (c, d) = one, other
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _flipped(data: bytes, bit: int) -> bytes:
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def _refused(codec: Codec, stored: bytes, what: str) -> None:
    try:
        content = decode_whole(codec, stored)
    except IntegrityError:
        return
    raise AssertionError(f"{what}: gave out {len(content)} bytes instead of an IntegrityError")


class CodecConformance:
    """All promises of `artifactfs.codecs.base.Codec`. Override the fixture `codec`.

    Attributes:
        authenticates: False for a codec that does not notice altered bytes: those tests are left out.
        surplus: how many stored bytes opening a range may need beyond what its content would take alone, and how many
            an encoder may hold back.
    """

    authenticates = True
    surplus = 64 * 1024

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.authenticates:
            for name in dir(CodecConformance):
                if name.startswith("test_altered_"):
                    setattr(cls, name, None)

    @pytest.fixture
    def codec(self) -> Any:
        """The codec under test, of one version: it opens what it stored."""
        raise NotImplementedError("override the fixture `codec`")

    # whole

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_stored_is_opened(self, codec: Codec, size: int) -> None:
        content = _bytes(size)
        stored = encode_whole(codec, content)
        assert type(stored) is bytes
        assert len(stored) == codec.stored_size(size)
        opened = decode_whole(codec, stored)
        assert type(opened) is bytes
        assert opened == content

    @pytest.mark.parametrize(
        "steps", [[1], [7, 0, 1, 3000], [UNIT - 1, 1], [UNIT], [UNIT, 1], [UNIT + 1], [3 * UNIT + 5]]
    )
    @pytest.mark.parametrize("size", [1, UNIT - 1, UNIT, 3 * UNIT + 7])
    def test_how_the_content_is_cut_makes_no_difference(self, codec: Codec, size: int, steps: list[int]) -> None:
        content = _bytes(size)
        stored = _encoded(codec, _cut(content, steps))
        assert len(stored) == codec.stored_size(size)
        assert decode_whole(codec, stored) == content

    def test_the_last_content_may_come_with_the_end(self, codec: Codec) -> None:
        content = _bytes(UNIT + 100)
        for cut in (0, 99, UNIT, UNIT + 100):
            encoder = codec.encoder()
            stored = encoder.update(content[:cut]) + encoder.finish(content[cut:])
            assert decode_whole(codec, stored) == content

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_kind_of_bytes_goes_in(self, codec: Codec, kind: Any) -> None:
        content = _bytes(UNIT + 100)
        stored = _encoded(codec, [kind(content[:99]), kind(content[99:])])
        assert decode_whole(codec, kind(stored)) == content

    def test_a_buffer_may_be_used_again_once_it_was_taken(self, codec: Codec) -> None:
        content, encoder, stored = _bytes(2 * UNIT + 100), codec.encoder(), []
        buffer = bytearray(300)
        for piece in _cut(content, [300]):
            buffer[: len(piece)] = piece
            stored.append(encoder.update(memoryview(buffer)[: len(piece)]))
            buffer[:] = bytes(300)
        stored.append(encoder.finish())
        assert decode_whole(codec, b"".join(stored)) == content

    def test_encoders_of_one_codec_do_not_disturb_each_other(self, codec: Codec) -> None:
        contents = [_bytes(UNIT + 100, seed) for seed in range(3)]
        encoders = [codec.encoder() for _ in contents]
        stored = [b""] * 3
        for pieces in zip(*(_cut(content, [1000]) for content in contents), strict=True):
            for i, piece in enumerate(pieces):
                stored[i] += encoders[i].update(piece)
        for i, encoder in enumerate(encoders):
            assert decode_whole(codec, stored[i] + encoder.finish()) == contents[i]

    def test_an_encoder_holds_back_little(self, codec: Codec) -> None:
        encoder, given = codec.encoder(), 0
        for turn in range(1, 200):
            given += len(encoder.update(_bytes(5000)))
            assert given >= codec.stored_size(turn * 5000) - self.surplus

    # sizes

    def test_sizes_grow_with_the_content(self, codec: Codec) -> None:
        sizes = [codec.stored_size(size) for size in range(2 * UNIT + 100)]
        assert all(one < two for one, two in itertools.pairwise(sizes))

    def test_a_stored_size_belongs_to_one_size_of_content_or_to_none(self, codec: Codec) -> None:
        sizes = {codec.stored_size(size): size for size in range(2 * UNIT + 100)}
        for stored in range(max(sizes)):
            try:
                assert codec.content_size(stored) == sizes.get(stored)
            except IntegrityError:
                assert stored not in sizes

    @pytest.mark.parametrize("size", [10**9, 2**40 + 1, 2**50])
    def test_sizes_of_large_contents_are_exact(self, codec: Codec, size: int) -> None:
        assert codec.content_size(codec.stored_size(size)) == size

    # ranges

    @pytest.mark.parametrize("size", [0, 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 3 * UNIT + 777])
    def test_any_range_opens_from_its_own_stored_bytes(self, codec: Codec, size: int) -> None:
        content = _bytes(size)
        stored = encode_whole(codec, content)
        decoder = codec.decoder(stored[: codec.head_size], size)
        near = {unit + off for unit in range(0, size + 1, UNIT) for off in (-1, 0, 1, 500)} | {0, size - 1, size}
        for start, end in itertools.combinations_with_replacement(sorted(x for x in near if 0 <= x <= size), 2):
            at, to = codec.span(start, end, size)
            assert 0 <= at <= to <= len(stored)
            assert decoder.open(start, end, stored[at:to]) == content[start:end]

    def test_ranges_open_in_any_order(self, codec: Codec) -> None:
        size, dice = 5 * UNIT + 1, random.Random(1)
        content = _bytes(size)
        stored = encode_whole(codec, content)
        decoder = codec.decoder(stored[: codec.head_size], size)
        for _ in range(300):
            start, end = sorted((dice.randint(0, size), dice.randint(0, size)))
            at, to = codec.span(start, end, size)
            assert decoder.open(start, end, stored[at:to]) == content[start:end]

    @pytest.mark.parametrize("size", [100_000, 10 * UNIT, 2**40 + 5])
    def test_a_range_needs_little_more_than_itself(self, codec: Codec, size: int) -> None:
        dice = random.Random(2)
        for _ in range(500):
            start = dice.randint(0, size)
            end = min(size, start + dice.choice([0, 1, 100, UNIT, 3 * UNIT, size]))
            at, to = codec.span(start, end, size)
            assert to - at <= codec.stored_size(end - start) + self.surplus
            assert codec.head_size <= at <= to <= codec.stored_size(size)

    def test_an_empty_range_needs_nothing(self, codec: Codec) -> None:
        for at in (0, 1, UNIT, 2 * UNIT):
            start, end = codec.span(at, at, 2 * UNIT)
            assert start == end

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 3 * UNIT), (UNIT - 1, UNIT + 1), (3 * UNIT - 5, 3 * UNIT)])
    def test_stored_bytes_of_another_length_are_refused(self, codec: Codec, start: int, end: int) -> None:
        size = 3 * UNIT
        stored = encode_whole(codec, _bytes(size))
        decoder = codec.decoder(stored[: codec.head_size], size)
        at, to = codec.span(start, end, size)
        exact = stored[at:to]
        for wrong in (b"", exact[:-1], exact[1:], exact + b"\0", exact + exact, exact[: -len(exact) // 2]):
            with pytest.raises(IntegrityError):
                decoder.open(start, end, wrong)

    # altered

    @pytest.mark.parametrize("size", [0, 1, 40])
    def test_altered_in_any_bit_a_small_payload_is_refused(self, codec: Codec, size: int) -> None:
        stored = encode_whole(codec, _bytes(size))
        for bit in range(8 * len(stored)):
            _refused(codec, _flipped(stored, bit), f"bit {bit} of {size} bytes of content")

    @pytest.mark.parametrize("size", [UNIT, 3 * UNIT + 777])
    def test_altered_in_one_bit_a_payload_is_refused(self, codec: Codec, size: int) -> None:
        stored = encode_whole(codec, _bytes(size))
        last = 8 * len(stored) - 1
        for bit in {*range(0, last, 1009), *range(0, 8 * codec.head_size, 5), last}:
            _refused(codec, _flipped(stored, bit), f"bit {bit}")

    def test_altered_head_is_refused_before_anything_is_opened(self, codec: Codec) -> None:
        stored = encode_whole(codec, _bytes(100))
        head = stored[: codec.head_size]
        assert head, "nothing is known of a payload before its content"
        for wrong in (
            *(_flipped(head, bit) for bit in range(8 * len(head))),
            b"",
            head[:-1],
            head + b"\0",
            bytes(len(head)),
        ):
            with pytest.raises(IntegrityError):
                codec.decoder(wrong, 100)

    def test_altered_length_is_refused(self, codec: Codec) -> None:
        """Cut off anywhere, from either end."""
        stored = encode_whole(codec, _bytes(300))
        for size in range(len(stored)):
            _refused(codec, stored[:size], f"the first {size} of {len(stored)} bytes")
            _refused(codec, stored[len(stored) - size :], f"the last {size} of {len(stored)} bytes")

    @pytest.mark.parametrize("size", [UNIT, 2 * UNIT, 3 * UNIT + 777])
    def test_altered_by_a_cut_between_units_is_refused(self, codec: Codec, size: int) -> None:
        stored = encode_whole(codec, _bytes(size))
        for at, to in _units(codec, size):
            for near in (at, to):
                for cut in range(near - 20, near + 20):
                    if cut < len(stored):
                        _refused(codec, stored[:cut], f"the first {cut} of {len(stored)} bytes")
            _refused(codec, stored[:at] + stored[to:], f"without the bytes from {at} to {to}")

    @pytest.mark.parametrize("size", [0, 300, UNIT, 2 * UNIT + 5])
    def test_altered_by_more_bytes_is_refused(self, codec: Codec, size: int) -> None:
        stored = encode_whole(codec, _bytes(size))
        units = [stored[at:to] for at, to in _units(codec, size)]
        for more in (b"\0", bytes(16), bytes(UNIT), bytes(UNIT + 16), stored[-16:], stored, *units):
            _refused(codec, stored + more, f"{len(more)} bytes more")

    def test_altered_order_of_units_is_refused(self, codec: Codec) -> None:
        size = 4 * UNIT
        stored = encode_whole(codec, _bytes(size))
        for one, other in itertools.combinations(_units(codec, size), 2):
            _refused(codec, _swapped(stored, one, other), f"swapped {one} with {other}")

    def test_altered_by_units_of_another_payload_is_refused(self, codec: Codec) -> None:
        """With the head of the other one too: no two payloads of one codec can be mixed."""
        size = 2 * UNIT + 5
        stored, other = encode_whole(codec, _bytes(size)), encode_whole(codec, _bytes(size, 1))
        _refused(codec, other[: codec.head_size] + stored[codec.head_size :], "under the head of another payload")
        for at, to in _units(codec, size):
            _refused(codec, stored[:at] + other[at:to] + stored[to:], f"with another payload's bytes from {at} to {to}")

    def test_altered_size_is_refused(self, codec: Codec) -> None:
        """A reader that was told another size, by a record that was altered, finds out when it reads to the end."""
        size = 2 * UNIT + 5
        stored = encode_whole(codec, _bytes(size))
        for told in {0, 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, size - 1}:
            at, to = codec.span(0, told, told)
            with pytest.raises(IntegrityError):
                codec.decoder(stored[: codec.head_size], told).open(0, told, stored[at:to])

    def test_altered_bytes_outside_a_range_do_not_matter_to_it(self, codec: Codec) -> None:
        size = 3 * UNIT
        content = _bytes(size)
        stored = encode_whole(codec, content)
        first, *_, last = _units(codec, size)
        altered = _flipped(stored, 8 * last[0])
        decoder = codec.decoder(altered[: codec.head_size], size)
        assert decoder.open(0, 100, altered[first[0] : first[1]]) == content[:100]
        with pytest.raises(IntegrityError):
            decoder.open(size - 5, size, altered[slice(*codec.span(size - 5, size, size))])
