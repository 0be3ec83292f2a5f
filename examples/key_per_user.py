"""A key for each user, in a file of its own: to destroy it makes all that this user ever saved unreadable.

Run it by ``python examples/key_per_user.py``. It works in temporary folders and leaves nothing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from artifactfs import ArtifactStore
from artifactfs.errors import KeyUnavailable
from artifactfs.keys.base import Identity
from artifactfs.keys.keyring import Keyring


class UserKeys:
    """Keys in a folder that nobody else can read: each made when it is first needed, and never again once destroyed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        if not self._file(key_id).exists():
            # Of several processes that make the key at once, one wins; it is on the disk before anything is sealed by it.
            self._put(key_id, secrets.token_bytes(32), os.link)
        return self._keyring(key_id).wrap(key_id, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        return self._keyring(key_id).unwrap(key_id, wrapped, identity)

    def shred(self, key_id: str) -> None:
        """For good. An empty file stays, so that no new key gets the id."""
        self._put(key_id, b"", os.replace)

    def _keyring(self, key_id: str) -> Keyring:
        file = self._file(key_id)
        key = file.read_bytes() if file.exists() else b""
        if not key:
            raise KeyUnavailable(f"the key {key_id!r} was destroyed, or never made here", key_id=key_id)
        return Keyring({key_id: key})

    def _file(self, key_id: str) -> Path:
        # An id comes out of records, which others may have written: as it is, it could lead out of the folder.
        return self.folder / hashlib.sha256(key_id.encode()).hexdigest()

    def _put(self, key_id: str, content: bytes, place: Callable[[str, Path], object]) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        try:
            place(temporary, self._file(key_id))
        except FileExistsError:
            pass
        finally:
            Path(temporary).unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        url, keys = f"{work}/artifacts", UserKeys(Path(work, "keys"))

        def opened() -> ArtifactStore:
            return ArtifactStore(url, keys=keys, active_key_id=lambda identity: f"user-{identity.user}")

        store = opened()
        for user in ("alice", "bob"):
            store.scope("shop", user, "s1").save("notes.txt", f"what {user} wrote")
        keys.shred("user-alice")
        # A store that is open remembers keys for a while; any other reads nothing of alice's from now on.
        store = opened()
        print("bob:", store.scope("shop", "bob", "s1").load("notes.txt").data.decode())
        try:
            store.scope("shop", "alice", "s1").load("notes.txt")
        except KeyUnavailable as error:
            print("alice:", error)


if __name__ == "__main__":
    main()
