"""Keepers of keys: what each promises (`ProviderTests`), and keys from text and files that are never shown."""

from __future__ import annotations

import base64
import copy
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from artifactfs.errors import ArtifactError, IntegrityError, InvalidConfig, KeyUnavailable
from artifactfs.keys import keyring
from artifactfs.keys.base import MAX_WRAPPED, Identity, KeyProvider
from artifactfs.keys.keyring import Keyring, new_key
from artifactfs.keys.remembered import Remembered
from artifactfs.store import ArtifactStore

ROOT = Path(__file__).resolve().parent.parent
WHOSE = Identity("shop", "alice", "s1", "report.csv", "5f0c")
DATA_KEY = bytes(range(32))
ANOTHERS = [
    *(WHOSE._replace(**{field: getattr(WHOSE, field) + "x"}) for field in Identity._fields),
    WHOSE._replace(session=""),
    WHOSE._replace(app="sho", user="palice"),
]

keys_of_32 = st.binary(min_size=32, max_size=32).filter(any)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
identities = st.builds(Identity, names, names, names, names, names)


class ProviderTests:
    """What every provider does. A subclass has fixtures `provider` with two keys, `key_id` and `another_key_id`."""

    def test_it_is_one(self, provider: KeyProvider) -> None:
        assert isinstance(provider, KeyProvider)

    def test_what_was_wrapped_is_unwrapped_and_fits_into_a_record(self, provider: KeyProvider, key_id: str) -> None:
        wrapped = provider.wrap(key_id, DATA_KEY, WHOSE)
        assert provider.unwrap(key_id, wrapped, WHOSE) == DATA_KEY
        assert DATA_KEY not in wrapped and len(wrapped) <= MAX_WRAPPED

    def test_a_key_is_wrapped_differently_each_time(self, provider: KeyProvider, key_id: str) -> None:
        assert len({provider.wrap(key_id, DATA_KEY, WHOSE) for _ in range(100)}) == 100

    def test_another_identity_does_not_open_it(self, provider: KeyProvider, key_id: str) -> None:
        wrapped = provider.wrap(key_id, DATA_KEY, WHOSE)
        for another in ANOTHERS:
            with pytest.raises(IntegrityError, match="altered"):
                provider.unwrap(key_id, wrapped, another)

    def test_a_change_of_any_byte_is_noticed(self, provider: KeyProvider, key_id: str) -> None:
        wrapped = provider.wrap(key_id, DATA_KEY, WHOSE)
        for at in range(len(wrapped)):
            changed = bytearray(wrapped)
            changed[at] ^= 1 << at % 8
            with pytest.raises((IntegrityError, KeyUnavailable)):
                provider.unwrap(key_id, bytes(changed), WHOSE)

    def test_what_is_cut_off_or_added_is_noticed(self, provider: KeyProvider, key_id: str) -> None:
        wrapped = provider.wrap(key_id, DATA_KEY, WHOSE)
        for changed in (
            *(wrapped[:size] for size in range(len(wrapped))),
            wrapped + b"\0",
            b"\0" + wrapped,
            bytes(500),
        ):
            with pytest.raises(IntegrityError):
                provider.unwrap(key_id, changed, WHOSE)

    def test_another_key_does_not_open_it(self, provider: KeyProvider, key_id: str, another_key_id: str) -> None:
        provider.wrap(another_key_id, DATA_KEY, WHOSE)
        with pytest.raises((IntegrityError, KeyUnavailable)):
            provider.unwrap(another_key_id, provider.wrap(key_id, DATA_KEY, WHOSE), WHOSE)

    @pytest.mark.parametrize("unknown", ["unknown", "../unknown", "alias/unknown", ""])
    def test_a_key_that_is_not_there_is_named(self, provider: KeyProvider, key_id: str, unknown: str) -> None:
        with pytest.raises(KeyUnavailable, match=repr(unknown)) as refused:
            provider.unwrap(unknown, provider.wrap(key_id, DATA_KEY, WHOSE), WHOSE)
        assert refused.value.key_id == unknown

    def test_threads_share_it(self, provider: KeyProvider, key_id: str, another_key_id: str) -> None:
        def work(number: int) -> bool:
            used, whose = (key_id, another_key_id)[number % 2], WHOSE._replace(write_id=str(number))
            data_key = number.to_bytes(32, "big")
            return provider.unwrap(used, provider.wrap(used, data_key, whose), whose) == data_key

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(400)))


def shown(error: BaseException) -> str:
    """All that an error may show anywhere: its traceback, what it carries, and what caused it, hidden or not."""
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + repr(pickle.dumps(error))
    for inner in (error.__cause__, error.__context__):
        text += shown(inner) if inner is not None else ""
    return text


# --- keyrings ---------------------------------------------------------------------------------------------------------


class TestKeyring(ProviderTests):
    @pytest.fixture
    def provider(self) -> Keyring:
        return Keyring.parse(f"{new_key('v1')},{new_key('v2')}")

    @pytest.fixture
    def key_id(self) -> str:
        return "v1"

    @pytest.fixture
    def another_key_id(self) -> str:
        return "v2"


class IgnoresTheIdentity:
    """A planted fault: whoever copies a record elsewhere gets it opened there."""

    def __init__(self) -> None:
        self.ring = Keyring.parse(new_key("v1"))

    def wrap(self, key_id: str, data_key: bytes, _: Identity) -> bytes:
        return self.ring.wrap(key_id, data_key, WHOSE)

    def unwrap(self, key_id: str, wrapped: bytes, _: Identity) -> bytes:
        return self.ring.unwrap(key_id, wrapped, WHOSE)


class ChecksNothing(IgnoresTheIdentity):
    """A planted fault: a keystream without a tag."""

    def wrap(self, key_id: str, data_key: bytes, _: Identity) -> bytes:
        return bytes(byte ^ 0x55 for byte in data_key)

    unwrap = wrap


def test_a_provider_that_ignores_the_identity_is_caught() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        ProviderTests().test_another_identity_does_not_open_it(IgnoresTheIdentity(), "v1")


def test_a_provider_that_checks_nothing_is_caught() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        ProviderTests().test_a_change_of_any_byte_is_noticed(ChecksNothing(), "v1")
    with pytest.raises(AssertionError):
        ProviderTests().test_a_key_is_wrapped_differently_each_time(ChecksNothing(), "v1")


@given(key=keys_of_32, data_key=st.binary(min_size=32, max_size=32), whose=identities, another=identities)
def test_a_keyring_gives_back_what_it_wrapped_to_its_identity_alone(
    key: bytes, data_key: bytes, whose: Identity, another: Identity
) -> None:
    ring = Keyring({"v1": key})
    wrapped = ring.wrap("v1", data_key, whose)
    assert Keyring({"v1": key}).unwrap("v1", wrapped, whose) == data_key
    if another != whose:
        with pytest.raises(IntegrityError):
            ring.unwrap("v1", wrapped, another)


def test_a_wrapped_key_is_nonce_then_aes_256_gcm_siv_bound_to_the_identity() -> None:
    key = os.urandom(32)
    wrapped = Keyring({"v1": key}).wrap("v1", DATA_KEY, WHOSE)
    assert len(wrapped) == 12 + 32 + 16
    assert AESGCMSIV(key).decrypt(wrapped[:12], wrapped[12:], WHOSE.encode()) == DATA_KEY


def test_every_flipped_bit_of_a_wrapped_key_is_an_integrity_error() -> None:
    ring = Keyring.parse(new_key("v1"))
    wrapped = ring.wrap("v1", DATA_KEY, WHOSE)
    for bit in range(len(wrapped) * 8):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="record was altered, or 'v1' is another key now"):
            ring.unwrap("v1", bytes(changed), WHOSE)


def test_a_key_that_is_not_configured_is_named_with_those_that_are() -> None:
    ring = Keyring.parse(f"{new_key('v1')},{new_key('v2')}")
    for use in (ring.wrap, ring.unwrap):
        with pytest.raises(
            KeyUnavailable, match=r"no key 'v3' is configured here \(there are v1, v2\): add it"
        ) as refused:
            use("v3", DATA_KEY, WHOSE)
        assert refused.value.key_id == "v3"


def test_only_a_key_of_32_bytes_is_wrapped() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        Keyring.parse(new_key("v1")).wrap("v1", b"k" * 16, WHOSE)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "no keys"),
        ({"": b"k" * 32}, "key 1: an id has"),
        ({"v 1": b"k" * 32}, "key 1: an id has"),
        ({"v\n": b"k" * 32}, "key 1: an id has"),
        ({'v"': b"k" * 32}, "key 1: an id has"),
        ({"ü": b"k" * 32}, "key 1: an id has"),
        ({"v" * 129: b"k" * 32}, "key 1: an id has"),
        ({"v1": b"k" * 32, "v2": b"k" * 16}, "key 2: its key has 16 bytes, and 32 are needed"),
        ({"v1": bytes(32)}, "key 1: its key is all zeros"),
        ({"v1": "k" * 32}, "key 1: its key has to be bytes, and is str"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        Keyring(keys)


def test_a_library_without_aes_gcm_siv_is_refused_when_keys_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: bytes) -> None:
        raise UnsupportedAlgorithm("AES-GCM-SIV is not supported by this version of OpenSSL")

    monkeypatch.setattr(keyring, "AESGCMSIV", missing)
    with pytest.raises(InvalidConfig, match="has no AES-GCM-SIV"):
        Keyring.parse(new_key("v1"))


# --- keys as text -----------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True), keys_of_32, min_size=1), st.data())
def test_keys_are_read_from_text_as_they_were_written(keys: dict[str, bytes], data: st.DataObject) -> None:
    space = st.text(" \t\r\n", max_size=3)
    text = ",".join(
        data.draw(space)
        + key_id
        + ":"
        + base64.urlsafe_b64encode(key).decode().rstrip(data.draw(st.sampled_from(["=", ""])))
        + data.draw(space)
        for key_id, key in keys.items()
    )
    ring = Keyring.parse(text)
    assert ring.ids == tuple(keys)
    for key_id, key in keys.items():
        assert ring.unwrap(key_id, Keyring({key_id: key}).wrap(key_id, DATA_KEY, WHOSE), WHOSE) == DATA_KEY


GOOD = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"  # base64url of "secret-secret-secret-secret-secr"
SECRET = base64.urlsafe_b64decode(GOOD + "=")
ILL_FORMED = [
    ("", "text of keys is empty"),
    (" \n", "text of keys is empty"),
    (",", "entry 1 of the keys is empty"),
    (f"v1:{GOOD},", "entry 2 of the keys is empty"),
    (f"v1:{GOOD},,v2:{GOOD}", "entry 2 of the keys is empty"),
    (GOOD, "entry 1 of the keys: no colon"),
    (f"v1:{GOOD},{GOOD}", "entry 2 of the keys: no colon"),
    (f":{GOOD}", "entry 1 of the keys: its id cannot be used"),
    (f"v 1:{GOOD}", "entry 1 of the keys: its id cannot be used"),
    (f"v/1:{GOOD}", "entry 1 of the keys: its id cannot be used"),
    (f"ü:{GOOD}", "entry 1 of the keys: its id cannot be used"),
    (f"{'v' * 129}:{GOOD}", "entry 1 of the keys: its id cannot be used"),
    (f"{GOOD}=:v1", "entry 1 of the keys: its id cannot be used"),
    (f"{GOOD}:v1", "entry 1 of the keys: its key"),
    (f"v1:{GOOD},v1:{GOOD}", "entry 2 of the keys has the same id as entry 1"),
    ("v1:", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:-1]}", "entry 1 of the keys: its key has 31 bytes, and 32 are needed"),
    (f"v1:{GOOD}AAAA", "entry 1 of the keys: its key has 35 bytes, and 32 are needed"),
    (f"v1:{GOOD[:-2]}", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD}==", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:-1]}J", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:20]}={GOOD[20:]}", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:20]}\n{GOOD[20:]}", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:-1]}é", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD}\nv2:{GOOD}", "entry 1 of the keys: its key is not base64url"),
    (f"v1:{GOOD[:-2]}+I", "entry 1 of the keys: its key is standard base64: write '-'"),
    (f"v1:{GOOD[:-2]}/I", "entry 1 of the keys: its key is standard base64: write '-'"),
    (f"v1:{'A' * 43}", "entry 1 of the keys: its key is all zeros"),
]


@pytest.mark.parametrize(("text", "told"), ILL_FORMED, ids=range(len(ILL_FORMED)))
def test_text_that_is_ill_formed_is_refused_without_showing_it(text: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told) as refused:
        Keyring.parse(text)
    for part in (GOOD[:8], GOOD[-12:-4], GOOD[20:28], SECRET[:8].decode()):
        assert part not in shown(refused.value)


def test_a_new_key_is_random_text_of_that_form() -> None:
    first, second = new_key("v1"), new_key("v1")
    assert first != second
    assert Keyring.parse(first).ids == ("v1",)
    assert len(first) == len("v1:") + 43


@pytest.mark.parametrize("key_id", ["", "v 1", "a:b", "a,b", "ü", "v" * 129, "v1\n"])
def test_a_new_key_has_an_id_that_can_be_read_again(key_id: str) -> None:
    with pytest.raises(InvalidConfig, match="an id has 1 to 128 characters"):
        new_key(key_id)


# --- keys in a file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def written(content: bytes | str, mode: int = 0o600) -> Path:
        path = tmp_path / "keys"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    return written


@pytest.mark.parametrize(
    "text",
    [
        "v1:{0}\nv2:{1}\n",
        "v1:{0},v2:{1}",
        "# of the shop\r\n\r\n v1:{0}, # the old one\r\n\tv2:{1}=  # the new one",
        "\ufeffv1:{0}\nv2:{1}",
        "v1:{0},\nv2:{1},\n",
    ],
)
def test_a_file_has_keys_by_line_or_comma_and_comments(file: Callable[..., Path], text: str) -> None:
    keys = [os.urandom(32) for _ in range(2)]
    encoded = [base64.urlsafe_b64encode(key).decode().rstrip("=") for key in keys]
    ring = Keyring.read_file(file(text.format(*encoded)))
    assert ring.ids == ("v1", "v2")
    for key_id, key in zip(ring.ids, keys, strict=True):
        assert ring.unwrap(key_id, Keyring({key_id: key}).wrap(key_id, DATA_KEY, WHOSE), WHOSE) == DATA_KEY


@pytest.mark.skipif(os.name != "posix", reason="this system has no such permissions")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602, 0o666, 0o644])
def test_a_file_that_others_may_use_is_refused(file: Callable[..., Path], mode: int) -> None:
    path = file(f"v1:{GOOD}", mode)
    with pytest.raises(InvalidConfig, match=f"mode {mode:04o}.*chmod 600 {path}"):
        Keyring.read_file(path)
    path.chmod(0o400)
    assert Keyring.read_file(path).ids == ("v1",)


def test_a_link_is_judged_by_the_file_that_it_leads_to(file: Callable[..., Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file(f"v1:{GOOD}", 0o644))
    with pytest.raises(InvalidConfig, match="chmod 600"):
        Keyring.read_file(link)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no keys in it"),
        ("# v1\n\n,\n", "no keys in it"),
        (f"v1:{GOOD}\n{GOOD}", "keys, line 2: no colon"),
        (f"v1:{GOOD}\n#\nv1:{GOOD}", "keys, line 3 has the same id as .*keys, line 1"),
        (b"v1:" + GOOD.encode() + b"\xff", "not UTF-8"),
        (f"v1:{GOOD}\n" + "#" * 65_536, "larger than 65,536 bytes"),
    ],
)
def test_a_file_of_another_form_is_refused_without_showing_it(
    file: Callable[..., Path], content: bytes | str, told: str
) -> None:
    with pytest.raises(InvalidConfig, match=told) as refused:
        Keyring.read_file(file(content))
    assert GOOD[:8] not in shown(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="there is no file of keys at"):
        Keyring.read_file(tmp_path / "missing")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        Keyring.read_file("nul\0inside")
    tmp_path.chmod(0o700)
    with pytest.raises(InvalidConfig, match="no regular file"):
        Keyring.read_file(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_nobody_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(InvalidConfig, match="no regular file"):
        Keyring.read_file(tmp_path / "pipe")


# --- what is not shown ------------------------------------------------------------------------------------------------


def test_a_keyring_shows_its_ids_and_no_key() -> None:
    ring = Keyring.parse(f"v1:{GOOD},v2:{GOOD}")
    assert repr(ring) == str(ring) == "<Keyring v1, v2>"
    for text in (repr(vars(ring)), repr(ring), shown(_caught(lambda: ring.unwrap("v1", b"altered", WHOSE)))):
        assert GOOD not in text and "secret" not in text and SECRET.hex() not in text


def _caught(work: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    "kept", [Keyring.parse(f"v1:{GOOD}"), Remembered[bytes, bytes](1, 1)], ids=["keyring", "remembered"]
)
def test_keys_are_neither_pickled_nor_copied(kept: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(kept, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(kept)


def test_importing_what_is_told_of_keys_brings_in_no_library() -> None:
    code = "import sys, artifactfs.keys, artifactfs.keys.base, artifactfs.keys.remembered; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"cryptography", "boto3", "botocore"}.isdisjoint(told.stdout.split())


# --- what is remembered -----------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_remembered_is_given_out_until_its_time_is_over() -> None:
    clock = Clock()
    kept = Remembered[bytes, bytes](10, 60, clock)
    assert kept.get(b"a") is None
    kept.put(b"a", b"1")
    clock.now = 59.9
    assert kept.get(b"a") == b"1"
    clock.now = 60
    assert kept.get(b"a") is None
    kept.put(b"a", b"2")
    clock.now = 119.9
    assert kept.get(b"a") == b"2"


def test_using_what_is_remembered_does_not_keep_it_longer_and_putting_it_again_does() -> None:
    clock = Clock()
    kept = Remembered[str, str](10, 60, clock)
    kept.put("a", "1")
    kept.put("b", "1")
    clock.now = 30
    kept.get("a")
    kept.put("b", "2")
    clock.now = 60
    assert (kept.get("a"), kept.get("b")) == (None, "2")


class Value:
    """Tells when nobody holds it any more."""

    def __init__(self, gone: list[str], name: str) -> None:
        self.gone, self.name = gone, name

    def __del__(self) -> None:
        self.gone.append(self.name)


def test_what_has_expired_or_made_room_is_let_go() -> None:
    clock, gone = Clock(), list[str]()
    kept = Remembered[str, Value](2, 60, clock)
    for name in "abc":
        kept.put(name, Value(gone, name))
    assert gone == ["a"]
    clock.now = 60
    assert kept.get("another") is None
    assert gone == ["a", "b", "c"]
    kept.put("d", Value(gone, "d"))
    kept.clear()
    assert gone == ["a", "b", "c", "d"]


def test_what_is_remembered_shows_nothing_of_it() -> None:
    kept = Remembered[bytes, bytes](2, 60)
    kept.put(b"secret", b"secret")
    assert repr(kept) == "<Remembered, at most 2 for 60 s>"


def test_threads_that_remember_at_once_get_what_belongs_to_their_key() -> None:
    kept = Remembered[int, int](50, 60)

    def work(number: int) -> bool:
        kept.put(number % 100, number % 100)
        return kept.get((number * 7) % 100) in (None, (number * 7) % 100)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(20_000), chunksize=500))


FORKED = """
import os, signal, sys, threading
from artifactfs.keys.remembered import Remembered

inside, leave = threading.Event(), threading.Event()
def clock():
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        leave.wait()
    return 0.0

kept = Remembered(10, 60, clock)
kept.put("a", "1")
thread = threading.Thread(target=kept.put, args=("b", "2"))
thread.start()
inside.wait()  # the thread holds the lock now
child = os.fork()
if child == 0:
    signal.alarm(20)
    kept.put("c", "3")
    os._exit((kept.get("a"), kept.get("c")) != (None, "3"))
status = os.waitpid(child, 0)[1]
leave.set()
thread.join()
sys.exit(status != 0 or (kept.get("a"), kept.get("b")) != ("1", "2"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_a_thread_remembers_begins_anew_and_does_not_wait() -> None:
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], cwd=ROOT, timeout=60).returncode == 0


# --- a key for each user ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("key_per_user", ROOT / "examples" / "key_per_user.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestUserKeys(ProviderTests):
    @pytest.fixture
    def provider(self, example: ModuleType, tmp_path: Path) -> Any:
        return example.UserKeys(tmp_path / "keys")

    @pytest.fixture
    def key_id(self) -> str:
        return "user-alice"

    @pytest.fixture
    def another_key_id(self) -> str:
        return "user-bob@example.com"

    def test_a_destroyed_key_takes_all_of_its_user_with_it_and_nothing_of_others(
        self, provider: Any, key_id: str, another_key_id: str
    ) -> None:
        lost, kept = (provider.wrap(used, DATA_KEY, WHOSE) for used in (key_id, another_key_id))
        provider.shred(key_id)
        for use in (lambda: provider.unwrap(key_id, lost, WHOSE), lambda: provider.wrap(key_id, DATA_KEY, WHOSE)):
            with pytest.raises(KeyUnavailable, match="was destroyed"):
                use()
        assert provider.unwrap(another_key_id, kept, WHOSE) == DATA_KEY

    def test_a_key_that_is_made_by_many_at_once_is_one(self, provider: Any, example: ModuleType) -> None:
        meet = threading.Barrier(8)

        def work(_: int) -> bytes:
            mine = example.UserKeys(provider.folder)
            meet.wait()
            wrapped: bytes = mine.wrap("user-new", DATA_KEY, WHOSE)
            return wrapped

        with ThreadPoolExecutor(8) as pool:
            for wrapped in pool.map(work, range(8)):
                assert provider.unwrap("user-new", wrapped, WHOSE) == DATA_KEY
        assert len(list(provider.folder.iterdir())) == 1


def test_the_guide_shows_the_keeper_of_the_example_as_it_is() -> None:
    example, guide = (ROOT / path for path in ("examples/key_per_user.py", "docs/keys.md"))
    text = example.read_text(encoding="utf-8")
    keeper = text[text.index("class UserKeys") : text.index("def main")].rstrip()
    assert f"\n{keeper}\n```\n" in guide.read_text(encoding="utf-8")


def test_the_example_runs_to_its_end(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    bob, alice = capsys.readouterr().out.splitlines()
    assert bob == "bob: what bob wrote"
    assert alice.startswith("alice: ") and "the key 'user-alice' was destroyed" in alice


# --- how a store is told of keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ARTIFACTFS_KEYS", "ARTIFACTFS_SCOPE_SECRET"])
def test_a_variable_that_is_set_and_empty_opens_no_plain_store(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    with pytest.raises(InvalidConfig, match=f"{name} is set and empty"):
        ArtifactStore("memory://plain")


def test_an_active_id_that_is_set_and_empty_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_ACTIVE_KEY_ID", "")
    ArtifactStore("memory://plain")
    assert ArtifactStore("memory://sealed", keys=new_key("v1")).scope("a", "u", "s").save("x", b"").encryption


def test_to_accept_plain_data_says_nothing_without_keys() -> None:
    with pytest.raises(InvalidConfig, match="accept_plain=True is for a store with keys"):
        ArtifactStore("memory://plain", accept_plain=True)


def test_a_key_that_was_given_in_the_place_of_its_id_is_in_no_error() -> None:
    key, other = new_key("v1"), new_key("v2")
    store = ArtifactStore("memory://sealed", keys=key)
    provider = ArtifactStore("memory://sealed", keys=Unbound(), active_key_id=f"{key} {other}")
    slips: list[Callable[[], object]] = [
        lambda: ArtifactStore("memory://sealed", keys=other, active_key_id=key),
        lambda: ArtifactStore("memory://sealed", active_key_id=key),
        lambda: ArtifactStore("memory://sealed", keys=other, active_key_id=key.partition(":")[2]),
        lambda: ArtifactStore("memory://sealed", keys=Path(key)),
        lambda: store.rotate(to=other),
        lambda: provider.scope("a", "u", "s").save("x", b""),
    ]
    for slip in slips:
        with pytest.raises(ArtifactError) as caught:
            slip()
        shown = "".join(traceback.format_exception(caught.value))
        assert key[3:] not in shown and other[3:] not in shown


class Unbound:
    """A provider that is never asked."""

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        raise NotImplementedError

    unwrap = wrap
