"""What is stored of a version: the suite of codecs on ours, faults that it must catch, and every way to alter a payload."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import tracemalloc
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from artifactfs.codecs.base import Bytes, Codec, Decoder, decode_whole, encode_whole
from artifactfs.codecs.plain import Plain
from artifactfs.codecs.sealed import CHUNK, HEAD, TAG, Sealed, _Decoder, sealed_size
from artifactfs.errors import IntegrityError
from artifactfs.testing.codec import CodecConformance

KEY = bytes(range(32))
CONTEXT = b"shop alice s1"
STORED = CHUNK + TAG


class TestPlain(CodecConformance):
    authenticates = False
    surplus = 0

    @pytest.fixture
    def codec(self) -> Codec:
        return Plain()


class TestSealed(CodecConformance):
    surplus = 2 * CHUNK + TAG

    @pytest.fixture
    def codec(self) -> Codec:
        return Sealed(KEY, CONTEXT)


def test_plain_content_is_stored_as_it_is() -> None:
    assert encode_whole(Plain(), b"content") == b"content"


# what is sealed


@pytest.mark.parametrize(("size", "stored"), [(0, 72), (1, 73), (16_383, 16_455), (16_384, 16_472), (100_000, 100_168)])
def test_a_sealed_payload_has_a_known_size(size: int, stored: int) -> None:
    assert sealed_size(size) == stored
    assert len(encode_whole(Sealed(KEY, CONTEXT), bytes(size))) == stored


def test_the_same_content_is_never_sealed_to_the_same_bytes() -> None:
    codec = Sealed(KEY, CONTEXT)
    one, other = encode_whole(codec, bytes(100)), encode_whole(codec, bytes(100))
    assert one[:24] != other[:24]
    assert one[24:HEAD] != other[24:HEAD]
    assert one[HEAD:] != other[HEAD:]


def test_nothing_of_the_content_shows() -> None:
    stored = encode_whole(Sealed(KEY, CONTEXT), b"genuine " * 10_000)
    assert b"genuine" not in stored
    assert len({stored[at : at + 16] for at in range(0, len(stored), 16)}) >= len(stored) // 16


@pytest.mark.parametrize("key", [bytes(32), KEY[::-1], b"\1" + KEY[1:]])
def test_another_key_does_not_open(key: bytes) -> None:
    with pytest.raises(IntegrityError, match="another artifact or save"):
        decode_whole(Sealed(key, CONTEXT), encode_whole(Sealed(KEY, CONTEXT), b"content"))


@pytest.mark.parametrize("context", [b"", CONTEXT[:-1], CONTEXT + b"\0", CONTEXT.upper()])
def test_a_payload_of_another_context_does_not_open(context: bytes) -> None:
    with pytest.raises(IntegrityError, match="another artifact or save"):
        decode_whole(Sealed(KEY, context), encode_whole(Sealed(KEY, CONTEXT), b"content"))


@pytest.fixture(scope="module")
def sealed() -> tuple[Sealed, bytes, bytes]:
    codec, content = Sealed(KEY, CONTEXT), random.Random(0).randbytes(40_000)
    return codec, content, encode_whole(codec, content)


def test_every_single_flipped_bit_is_refused(sealed: tuple[Sealed, bytes, bytes]) -> None:
    codec, content, stored = sealed
    altered = bytearray(stored)
    for bit in range(8 * HEAD):
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            codec.decoder(altered[:HEAD], len(content))
        altered[bit // 8] ^= 1 << bit % 8
    decoder, opened = codec.decoder(stored[:HEAD], len(content)), []
    for start in range(0, len(content), CHUNK):
        end = min(start + CHUNK, len(content))
        at, to = codec.span(start, end, len(content))
        chunk = memoryview(altered)[at:to]
        assert decoder.open(start, end, chunk) == content[start:end]
        for byte in range(to - at):
            for bit in range(8):
                chunk[byte] ^= 1 << bit
                try:
                    opened.append(decoder.open(start, end, chunk))
                except IntegrityError:
                    pass
                chunk[byte] ^= 1 << bit
    assert altered == stored
    assert not opened


def test_every_truncation_is_refused(sealed: tuple[Sealed, bytes, bytes]) -> None:
    codec, _, stored = sealed
    opened, view = [], memoryview(stored)
    for size in range(len(stored)):
        try:
            opened.append(decode_whole(codec, view[:size]))
        except IntegrityError:
            pass
    assert not opened


def test_every_swap_of_two_chunks_is_refused() -> None:
    codec, content = Sealed(KEY, CONTEXT), bytes(6 * CHUNK + 100)
    stored = encode_whole(codec, content)
    chunks = [stored[at : at + STORED] for at in range(HEAD, len(stored), STORED)]
    assert len(chunks) == 7
    for one, other in itertools.combinations(range(7), 2):
        order = list(range(7))
        order[one], order[other] = other, one
        with pytest.raises(IntegrityError, match="altered in the bytes from"):
            decode_whole(codec, stored[:HEAD] + b"".join(chunks[i] for i in order))


def test_an_empty_last_chunk_is_checked_by_whoever_reads_to_the_end() -> None:
    codec, size = Sealed(KEY, CONTEXT), 2 * CHUNK
    stored = bytearray(encode_whole(codec, bytes(size)))
    stored[-1] ^= 1
    decoder = codec.decoder(stored[:HEAD], size)
    assert codec.span(size - 1, size, size) == (HEAD + STORED, len(stored))
    with pytest.raises(IntegrityError):
        decoder.open(size - 1, size, stored[HEAD + STORED :])
    assert decoder.open(0, size - 1, stored[HEAD : HEAD + 2 * STORED]) == bytes(size - 1)


def test_errors_say_what_happened_and_what_to_do(sealed: tuple[Sealed, bytes, bytes]) -> None:
    codec, content, stored = sealed
    altered = bytearray(stored)
    altered[HEAD + STORED + 7] ^= 1
    with pytest.raises(
        IntegrityError, match="altered in the bytes from 16456 to 32856; load another version"
    ) as caught:
        decode_whole(codec, altered)
    assert isinstance(caught.value.__cause__, InvalidTag)
    with pytest.raises(IntegrityError, match="no sealed content takes 56 bytes"):
        decode_whole(codec, stored[:HEAD])
    with pytest.raises(IntegrityError, match="begins with 56 bytes of head; 55 are there"):
        codec.decoder(stored[:55], len(content))
    with pytest.raises(
        IntegrityError, match="gave 3 bytes of a sealed payload where 16400 are needed, from byte 56 on"
    ):
        codec.decoder(stored[:HEAD], len(content)).open(0, 1, b"abc")


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 101), (101, 101)])
def test_a_range_outside_the_content_is_a_mistake(start: int, end: int) -> None:
    codec = Sealed(KEY, CONTEXT)
    stored = encode_whole(codec, bytes(100))
    with pytest.raises(ValueError, match="there is no range"):
        codec.span(start, end, 100)
    with pytest.raises(ValueError, match="there is no range"):
        codec.decoder(stored[:HEAD], 100).open(start, end, stored[HEAD:])


def test_a_finished_encoder_takes_no_more() -> None:
    encoder = Sealed(KEY, CONTEXT).encoder()
    encoder.finish(b"content")
    with pytest.raises(ValueError, match="finished"):
        encoder.update(b"more")
    with pytest.raises(ValueError, match="finished"):
        encoder.finish()


def test_sealing_a_stream_holds_a_small_constant() -> None:
    codec, piece = Sealed(KEY, CONTEXT), bytes(1024 * 1024)
    encoder = codec.encoder()
    encoder.update(piece)
    tracemalloc.start()
    try:
        for _ in range(20):
            encoder.update(piece)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(piece)
    finally:
        tracemalloc.stop()


class _Taken(list[Any]):
    """Memory that another thread takes right after it was seen to be there."""

    def __len__(self) -> int:
        return 1


def test_threads_that_open_at_the_same_time_never_miss_memory() -> None:
    codec = Sealed(KEY, CONTEXT)
    stored = encode_whole(codec, b"content")
    decoder = codec.decoder(stored[:HEAD], 7)
    decoder._buffers = _Taken()
    assert decoder.open(0, 7, stored[HEAD:]) == b"content"


# what holds keys


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_data_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        Sealed(bytes(size), CONTEXT)


def test_a_codec_does_not_show_or_give_away_its_key() -> None:
    codec = Sealed(KEY, CONTEXT)
    shown = f"{codec!r} {codec} {codec.encoder()!r} {codec.decoder(encode_whole(codec, b'')[:HEAD], 0)!r}"
    assert not any(secret in shown for secret in (KEY.hex(), repr(KEY), repr(KEY)[2:20], "shop"))
    for held in (codec, codec.encoder()):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(held, protocol)
        with pytest.raises(TypeError):
            copy.deepcopy(held)


# faults that the suite must catch


class _WithoutCommitment(Sealed):
    """Opens whatever the tags allow."""

    def decoder(self, head: Bytes, size: int) -> Any:
        cipher, nonce, _ = self._expand(bytes(head[:24]))
        return _Decoder(cipher, nonce, size)


class _OneNonce:
    def __init__(self, cipher: Any) -> None:
        self.cipher = cipher

    def encrypt_into(self, nonce: bytes, *args: Any) -> Any:
        return self.cipher.encrypt_into(bytes(12), *args)

    def decrypt_into(self, nonce: bytes, *args: Any) -> Any:
        return self.cipher.decrypt_into(bytes(12), *args)


class _WithoutCounter(Sealed):
    """Seals all chunks under one nonce."""

    def _expand(self, salt: bytes) -> Any:
        cipher, nonce, commitment = super()._expand(salt)
        return _OneNonce(cipher), nonce, commitment


class _WithoutSalt(Sealed):
    def _encoder(self, salt: bytes) -> Any:
        return super()._encoder(bytes(24))


class _GivesOutWhatPassed(Sealed):
    """A chunk is given out before the next one is checked."""

    def decoder(self, head: Bytes, size: int) -> Any:
        return _Passing(super().decoder(head, size), size)


class _Passing:
    def __init__(self, decoder: Decoder, size: int) -> None:
        self.decoder = decoder
        self.size = size

    def open(self, start: int, end: int, stored: Bytes) -> bytes:
        try:
            return self.decoder.open(start, end, stored)
        except IntegrityError:
            if end - start <= CHUNK:
                raise
            return self.decoder.open(start, start + CHUNK, memoryview(stored)[:STORED])


class _TakesAFullLastChunk(Sealed):
    """Content ends wherever the stored bytes do, also after a full chunk."""

    def content_size(self, stored: int) -> int:
        full, last = divmod(stored - HEAD, STORED)
        return full * CHUNK if full > 0 and last == 0 else super().content_size(stored)

    def span(self, start: int, end: int, size: int) -> tuple[int, int]:
        return super().span(start, end, self._apparent(size))

    def decoder(self, head: Bytes, size: int) -> Any:
        return super().decoder(head, self._apparent(size))

    def _apparent(self, size: int) -> int:
        return size + CHUNK if size and size % CHUNK == 0 else size


class _TakesMore(Sealed):
    """Does not look at what follows the last chunk that it expects."""

    def content_size(self, stored: int) -> int:
        return super().content_size(stored - 1 if (stored - HEAD) % STORED == TAG + 301 else stored)


class _WithoutEmptyLastChunk(Sealed):
    """A range that reaches the end of whole chunks does not look whether they are all."""

    def span(self, start: int, end: int, size: int) -> tuple[int, int]:
        at, to = super().span(start, end, size)
        return at, to - TAG if end == size and size and size % CHUNK == 0 else to


class _SharesAnEncoder(Sealed):
    __slots__ = ("_only",)

    def encoder(self) -> Any:
        self._only = getattr(self, "_only", None) or super().encoder()
        return self._only


class _KeepsViews(Plain):
    """Looks at a caller's buffer after the call."""

    def encoder(self) -> Any:
        return _Late()


class _Late:
    def __init__(self) -> None:
        self.held: Bytes = b""

    def update(self, data: Bytes) -> bytes:
        given, self.held = bytes(self.held), data
        return given

    def finish(self, data: Bytes = b"") -> bytes:
        return bytes(self.held) + bytes(data)


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (_WithoutCommitment(KEY, CONTEXT), "altered_head_is_refused"),
        (_WithoutCounter(KEY, CONTEXT), "altered_order_of_units"),
        (_WithoutSalt(KEY, CONTEXT), "altered_by_units_of_another_payload"),
        (_GivesOutWhatPassed(KEY, CONTEXT), "altered_in_one_bit"),
        (_TakesAFullLastChunk(KEY, CONTEXT), "altered_by_a_cut_between_units"),
        (_TakesMore(KEY, CONTEXT), "altered_by_more_bytes"),
        (_WithoutEmptyLastChunk(KEY, CONTEXT), "any_range_opens"),
        (_SharesAnEncoder(KEY, CONTEXT), "encoders_of_one_codec"),
        (_KeepsViews(), "a_buffer_may_be_used_again"),
        (Plain(), "altered_in_any_bit"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_suite_catches(fault: Codec, test: str) -> None:
    named = [name for name in TESTS if test in name]
    assert named
    assert not any(_passes(name, fault) for name in named)


def test_the_suite_finds_nothing_wrong_with_what_is_sound() -> None:
    assert [name for name in TESTS if not _passes(name, Sealed(KEY, CONTEXT))] == []


TESTS = [name for name in dir(CodecConformance) if name.startswith("test_")]


def _passes(name: str, codec: Codec) -> bool:
    """Run a test of the suite by hand, with all its parameters."""
    test = getattr(CodecConformance(), name)
    choices: list[list[dict[str, Any]]] = []
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        names = [names] if isinstance(names, str) else list(names)
        choices.append([dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in values])
    try:
        for chosen in itertools.product(*choices):
            test(codec=codec, **{key: value for one in chosen for key, value in one.items()})
    except (AssertionError, IntegrityError, ValueError, pytest.fail.Exception):
        return False
    return True
