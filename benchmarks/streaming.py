"""One long stream in a process of its own: ``python -m benchmarks.streaming``, told by a JSON object what is to be done.

It prints the seconds that it took, and by how many bytes the peak of its memory lay above what it held when it began: by
then everything is imported, connected and used once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[1]
CHUNK, TAG = 16 * 1024, 16


class Took(NamedTuple):
    seconds: float
    growth: int


def streamed(**told: Any) -> Took:
    """`stream` in a fresh process."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "ARTIFACTFS_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming"],
        input=json.dumps(told).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        check=True,
    )
    return Took(*json.loads(done.stdout.splitlines()[-1]))


Do = Callable[[], object]


def small(artifact: str) -> str:
    """What is saved and loaded before *artifact* is, so that all is imported and connected."""
    return f"small-{artifact}"


def save(url: str, options: dict[str, Any], artifact: str, source: str) -> Do:
    """Save the file *source* as the next version of *artifact*."""
    from artifactfs import ArtifactStore

    scope = ArtifactStore(url, **options).scope("shop", "alice", "s1")
    scope.save(small(artifact), b"small")
    return lambda: scope.save(artifact, Path(source))


def load(url: str, options: dict[str, Any], artifact: str, target: str) -> Do:
    """Write the newest version of *artifact* to the file *target*."""
    from artifactfs import ArtifactStore

    scope = ArtifactStore(url, **options).scope("shop", "alice", "s1")
    scope.load(small(artifact))

    def run() -> None:
        with scope.open(artifact) as file, _Synced(target) as to:
            shutil.copyfileobj(file, to, MIB)

    return run


def copy(source: str, target: str) -> Do:
    """Copy a file, as one that must outlive a power cut."""

    def run() -> None:
        with open(source, "rb", buffering=0) as file, _Synced(target) as to:
            shutil.copyfileobj(file, to, MIB)

    return run


class _Synced:
    """A file that is on its disk when the block is over."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "wb", buffering=0)  # noqa: SIM115

    def __enter__(self) -> Any:
        return self.file

    def __exit__(self, *_: object) -> None:
        os.fsync(self.file.fileno())
        self.file.close()


def digest(size: int) -> Do:
    """SHA-256 of so many bytes."""
    piece = os.urandom(MIB)

    def run() -> None:
        made = hashlib.sha256()
        for at in range(0, size, MIB):
            made.update(memoryview(piece)[: size - at])
        made.digest()

    return run


def gcm(size: int, *, opening: bool) -> Do:
    """AES-256-GCM of so many bytes in chunks of 16 KiB, into buffers that are used again."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher, nonce = AESGCM(os.urandom(32)), bytes(12)
    plain, sealed = memoryview(bytearray(os.urandom(CHUNK))), memoryview(bytearray(CHUNK + TAG))
    cipher.encrypt_into(nonce, plain, None, sealed)

    def run() -> None:
        for _ in range(-(-size // CHUNK)):
            if opening:
                cipher.decrypt_into(nonce, sealed, None, plain)
            else:
                cipher.encrypt_into(nonce, plain, None, sealed)

    return run


def obstore_put(source: str, path: str, **told: str) -> Do:
    """obstore's own upload of a file, in parts."""
    from .floors import Obstore

    store = Obstore(**told).store
    store.put("small", b"small")

    def run() -> None:
        with open(source, "rb") as file:
            store.put(path, file)

    return run


def obstore_get(target: str, path: str, **told: str) -> Do:
    """obstore's own download to a file."""
    from .floors import Obstore

    store = Obstore(**told).store
    store.get("small").bytes()

    def run() -> None:
        with _Synced(target) as to:
            for piece in store.get(path).stream(MIB):
                to.write(piece)

    return run


def s3fs_put(source: str, path: str, **told: str) -> Do:
    """s3fs's own upload of a file."""
    from .floors import S3fs

    made = S3fs(**told)
    made.fs.pipe_file(f"{made.bucket}/small", b"small")
    return lambda: made.fs.put_file(source, f"{made.bucket}/{path}")


def s3fs_get(target: str, path: str, **told: str) -> Do:
    """s3fs's own download to a file."""
    from .floors import S3fs

    made = S3fs(**told)
    made.fs.cat_file(f"{made.bucket}/small")
    return lambda: made.fs.get_file(f"{made.bucket}/{path}", target)


_KINDS: dict[str, Callable[..., Do]] = {
    made.__name__: made for made in (save, load, copy, digest, gcm, obstore_put, obstore_get, s3fs_put, s3fs_get)
}


def _memory(field: str) -> int:
    """Bytes, of this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def stream(kind: str, **told: Any) -> Took:
    """Do it in this process."""
    do = _KINDS[kind](**told)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begun = time.perf_counter()
    do()
    seconds = time.perf_counter() - begun
    return Took(seconds, max(0, _memory("VmHWM") - before))


def main() -> None:
    print(json.dumps(stream(**json.load(sys.stdin))))


if __name__ == "__main__":
    main()
