"""Make the golden stores: small trees of files as the first release wrote them, which every later release must read.

    python -m tests.make_golden

This was run once. It refuses to write over what is there: a store that a release has written is not made anew, since the
point is that it is old. What a later format adds gets a folder of its own beside these.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from artifactfs import ArtifactStore
from artifactfs.protocol.env import Env
from artifactfs.store import Scope

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected.json"

# Keys of nobody: they protect nothing but these files.
KEYS = ",".join(
    f"{key_id}:{base64.urlsafe_b64encode(hashlib.sha256(f'golden {key_id}'.encode()).digest()).decode().rstrip('=')}"
    for key_id in ("v1", "2026-11")
)
SECRET = "golden scope secret, of nobody"

FOREIGN = b"a,b\n1,2\n"

ODD = [
    "100% sure?.txt",
    "@latest",
    ".hidden",
    "CON",
    "trailing dot.",
    "a b/c:d*e",
    "ünï→日本.txt",
    "::chain",
    "user",
]


def content(size: int) -> bytes:
    """*size* bytes that look random and are the same for everybody."""
    blocks = (hashlib.sha256(b"golden %d" % number).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


class Noted:
    """A scope, and what is to be found in it: by what was done, not by what reading says."""

    def __init__(self, scope: Scope, **settings: Any) -> None:
        self.scope, self.settings = scope, settings
        self.kept: dict[str, dict[int, dict[str, Any]]] = {}

    def save(self, name: str, data: bytes, **more: Any) -> None:
        """In one piece, or in several where it is long."""
        stream = (data[at : at + 7000] for at in range(0, len(data), 7000))
        record = self.scope.save(name, data if len(data) < 10_000 else stream, **more)
        self._note(name, record, {"content_sha256": hashlib.sha256(data).hexdigest()})

    def point(self, name: str, uri: str, **more: Any) -> None:
        self._note(name, self.scope.point(name, uri, **more), {})

    def remove(self, name: str) -> None:
        self._note(name, self.scope.remove(name), {})

    def delete(self, name: str, version: int | None = None) -> None:
        self.scope.delete(name, version)
        for number in list(self.kept[name]) if version is None else [version]:
            del self.kept[name][number]

    def fail(self, name: str) -> None:
        """A save that breaks off: its number is fenced."""

        def breaking() -> Iterator[bytes]:
            yield bytes(9_000_000)
            raise InterruptedError

        self.kept.setdefault(name, {})
        try:
            self.scope.save(name, breaking())
        except InterruptedError:
            pass

    def _note(self, name: str, record: Any, more: dict[str, Any]) -> None:
        told = json.loads(msgspec.json.encode(record))
        told.pop("encryption", None)
        key = {"key_id": record.encryption.key_id} if record.encryption else {}
        self.kept.setdefault(name, {})[record.version] = {**told, **key, **more}

    def told(self) -> dict[str, Any]:
        newest = {name: versions[max(versions)] for name, versions in self.kept.items() if versions}
        return {
            "scope": [self.scope.id.app, self.scope.id.user, self.scope.id.session],
            "settings": self.settings,
            "names": sorted(name for name, record in newest.items() if record["kind"] != "removed"),
            "artifacts": {
                name: {str(number): versions[number] for number in sorted(versions)}
                for name, versions in self.kept.items()
            },
        }


def _fill(noted: Noted) -> None:
    many = 102
    for number in range(many):
        noted.save("many", b"%d" % number)
    for number in range(1, many - 1):
        noted.delete("many", number)
    noted.scope.store._core.env = Env(keep_tombstones=-60.0)
    noted.scope.store.compact()

    for text in ("first\n", "second\r\n", "Grüße, 日本\n"):
        noted.save("notes.txt", text.encode())
    noted.save("reports/q1.csv", b"a,b\n1,2\n", metadata={"by": "alice", "n": [1, None, 2.5, {"é": True}]})
    noted.save("reports/q2", content(300), mime_type="application/x-own; charset=utf-8")
    for size in (0, 1, 16_383, 16_384, 16_385, 40_000):
        noted.save("sizes.bin", content(size))
    noted.save("fence", b"artifactfs fence0123456789abcdef")
    noted.save("removed.txt", b"there once")
    noted.remove("removed.txt")
    noted.save("back.txt", b"before")
    noted.remove("back.txt")
    noted.save("back.txt", b"after")
    for number in range(3):
        noted.save("partly.txt", b"%d" % number)
    noted.delete("partly.txt", 0)
    noted.delete("partly.txt", 2)
    noted.save("deleted.txt", b"gone")
    noted.delete("deleted.txt")
    noted.save("broken.bin", b"whole")
    noted.fail("broken.bin")
    noted.point(
        "paper.pdf",
        "https://example.org/papers/1?a=%20b",
        size_bytes=7,
        expected_sha256=hashlib.sha256(b"genuine").hexdigest(),
        metadata={"doi": "10.1/1"},
    )
    noted.point("bucket", "s3://bucket/key")
    for name in ODD:
        noted.save(name, f"content of {name}".encode())


def _stores(root: Path, **keys: Any) -> list[dict[str, Any]]:
    found = []
    theirs = root / "theirs/alice/s1/theirs.csv"
    theirs.mkdir(parents=True)
    (theirs / "0").write_bytes(FOREIGN)  # by another program, which writes no records
    store = ArtifactStore(root, **keys)
    session = Noted(store.scope("shop", "alice", "s1"))
    _fill(session)
    shared = Noted(store.scope("shop", "alice"))
    shared.save("logo.png", b"\x89PNG\r\n\x1a\n")
    odd = Noted(store.scope("shop/2", "bob@example.com", "user"))
    odd.save("x", b"of bob")
    found += [session, shared, odd]
    if keys:
        other = Noted(ArtifactStore(root, **{**keys, "active_key_id": "2026-11"}).scope("shop", "alice", "s2"))
        other.save("x", content(20_000))
        other.save("x", b"by the newer key")
        hidden = Noted(
            ArtifactStore(root, **keys, scope_secret=SECRET).scope("clinic", "carol", "s1"), scope_secret=SECRET
        )
        hidden.save("x", b"of carol")
        hidden.remove("x")
        found += [other, hidden]
    named = Noted(ArtifactStore(root, **keys, provider="main").scope("named", "alice", "s1"), provider="main")
    named.save("x", b"of the store called main")
    (root / ".lock").unlink()
    return [one.told() for one in [*found, named]]


def files(root: Path) -> dict[str, str]:
    """The SHA-256 of each file below *root*, by its path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def main() -> None:
    if EXPECTED.exists():
        raise SystemExit(f"{GOLDEN} is there: golden stores are not made anew (see the module's text)")
    told: dict[str, Any] = {"keys": KEYS, "active_key_id": "v1", "scope_secret": SECRET, "stores": {}}
    for name, keys in (("plain", {}), ("sealed", {"keys": KEYS, "active_key_id": "v1"})):
        scopes = _stores(GOLDEN / name, **keys)
        told["stores"][name] = {"scopes": scopes, "files": files(GOLDEN / name)}
    EXPECTED.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
