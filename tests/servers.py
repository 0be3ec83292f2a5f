"""Real storage servers on loopback for tests and benchmarks.

Each `start_*` is a context manager: the server listens on a free port of 127.0.0.1, keeps its data in a temporary
folder, is ready when the block begins and gone when it ends, also where this process is killed. `tests/conftest.py`
makes session fixtures of them, started when a test first asks.

    def test_something(minio):
        store = ArtifactStore(minio.bucket(), **minio.storage_options)

A server that is not installed makes its tests skip, and with ``ARTIFACTFS_REQUIRE_SERVERS=1`` fail.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

KEY, SECRET = "AKIDARTIFACTFS00", "artifactfs-loopback-secret"
READY_SECONDS = 60.0

FOLDER = "/tmp" if os.path.isdir("/tmp") else None
"""Where servers keep their data. Ceph's sockets live in there, and their paths may have no more than 107 bytes."""


class Missing(Exception):
    """The program of a server is not on this machine; the message says how to install it."""


@dataclass(frozen=True)
class Server:
    """A running server, or a proxy in front of one. `key` and `secret` are empty where it asks for none.

    `data`: the folder that a server of one program was given.
    """

    name: str
    kind: Literal["s3", "gcs"]
    url: str
    key: str = ""
    secret: str = ""
    data: str = ""

    @property
    def storage_options(self) -> dict[str, Any]:
        """What a user gives `ArtifactStore` beside the URL. The engine is the one of every installation."""
        return {**self.own_options, "engine": "s3fs" if self.kind == "s3" else "gcsfs"}

    @property
    def own_options(self) -> dict[str, Any]:
        """What s3fs or gcsfs is given."""
        if self.kind == "s3":
            return {"endpoint_url": self.url, "key": self.key, "secret": self.secret}
        return {"endpoint_url": self.url, "token": "anon", "project": "test"}

    def at(self, url: str) -> Server:
        """The same server as it is reached through *url*, which is a proxy's."""
        return replace(self, url=url)

    def bucket(self, prefix: str = "prefix") -> str:
        """Make a fresh bucket; the URL of a store in it, such as ``s3://b-1f3a/prefix``."""
        name = f"b-{uuid.uuid4().hex[:16]}"
        if self.kind == "s3":
            self.client().create_bucket(Bucket=name)
        else:
            _post(f"{self.url}/storage/v1/b?project=test", {"name": name})
        return f"{'s3' if self.kind == 's3' else 'gs'}://{name}/{prefix}".rstrip("/")

    def client(self) -> Any:
        """A plain boto3 client that tries once and adds no checksums of its own: for looking behind the store."""
        assert self.kind == "s3"
        return _client(self.url, self.key, self.secret)


@functools.cache
def _client(url: str, key: str, secret: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        read_timeout=60,
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=config,
    )


def _post(url: str, body: Mapping[str, Any]) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


# --- programs ---------------------------------------------------------------------------------------------------------


def program(name: str, install: str) -> str:
    """The path of a server's program: beside this Python, in the cache folder, or on PATH."""
    cache = Path(os.environ.get("ARTIFACTFS_CACHE") or Path.home() / ".cache/artifactfs")
    places = [f"{sys.prefix}/bin", str(cache / "bin"), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise Missing(f"{name} is not installed: {install}")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Group:
    """Processes that end together: at `close`, or when this process ends in whatever way.

    The guard leads a process group and waits for the end of its standard input, which comes when we die.
    """

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="afs-", dir=FOLDER))
        self.log = self.folder / f"{name}.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))},
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'cat >/dev/null; rm -rf "$1"; kill -KILL 0', "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            process_group=0,
        )
        self._members: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], **environment: str) -> None:
        with self.log.open("ab") as log:
            self._members.append(
                subprocess.Popen(
                    command,
                    env={**self.environment, **environment},
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=self._guard.pid,
                )
            )

    def run(self, command: Sequence[str]) -> str:
        """Run a command to its end; what it prints."""
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def wait_for(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            ended = [member.args for member in self._members if member.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"{ended} ended" if ended else f"not {what} within {READY_SECONDS:.0f} s"
                raise RuntimeError(f"{why}:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, 9)
        for process in [*self._members, self._guard]:
            process.wait()
        self._guard.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def group(name: str) -> Iterator[Group]:
    running = Group(name)
    try:
        yield running
    finally:
        running.close()


def answers(url: str, path: str = "/") -> bool:
    """Does an HTTP server answer there, with whatever status below 500?"""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + path, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False


@contextlib.contextmanager
def _simple(
    server: Callable[[str], Server], command: Callable[[str, Path], Sequence[str]], path: str = "/", **environment: str
) -> Iterator[Server]:
    """A server of one program. *command* gets ``127.0.0.1:port`` and its data folder."""
    address = f"127.0.0.1:{free_port()}"
    made = server(f"http://{address}")
    with group(made.name) as running:
        data = running.folder / "data"
        data.mkdir()
        fill = {name: value.format(port=address.rpartition(":")[2]) for name, value in environment.items()}
        running.start(command(address, data), **fill)
        running.wait_for(lambda: answers(made.url, path), "answering")
        yield replace(made, data=str(data))


def _s3(name: str) -> Callable[[str], Server]:
    return lambda url: Server(name, "s3", url, KEY, SECRET)


# --- the servers ------------------------------------------------------------------------------------------------------

PIP = "pip install 'artifactfs[test]'"


def start_moto() -> contextlib.AbstractContextManager[Server]:
    """moto: every S3 call, checks no signature; see `tests/serial_moto.py`."""
    program("moto_server", PIP)
    script = str(Path(__file__).with_name("serial_moto.py"))
    return _simple(_s3("moto"), lambda address, _: [sys.executable, script, address.rpartition(":")[2]])


def start_ministack() -> contextlib.AbstractContextManager[Server]:
    """ministack: other error bodies than moto's."""
    binary = program("ministack", PIP)
    return _simple(_s3("ministack"), lambda *_: [binary], BIND_HOST="127.0.0.1", GATEWAY_PORT="{port}", SERVICES="s3")


def start_rclone() -> contextlib.AbstractContextManager[Server]:
    """rclone: a real server that ignores If-None-Match."""
    binary = program("rclone", PIP)
    return _simple(
        _s3("rclone"),
        lambda address, data: [
            *[binary, "serve", "s3", "--config", "", "--addr", address, "--auth-key", f"{KEY},{SECRET}", str(data)]
        ],
    )


def start_minio() -> contextlib.AbstractContextManager[Server]:
    """MinIO: what people host themselves."""
    binary = program("minio", "bash .ci/install-servers minio")
    return _simple(
        _s3("minio"),
        lambda address, data: [binary, "server", "--quiet", "--address", address, str(data)],
        MINIO_BROWSER="off",
        MINIO_ROOT_USER=KEY,
        MINIO_ROOT_PASSWORD=SECRET,
    )


def start_fake_gcs() -> contextlib.AbstractContextManager[Server]:
    """fake-gcs-server: the JSON API of Google Cloud Storage, in memory."""
    binary = program("fake-gcs-server", "bash .ci/install-servers fake-gcs-server")
    return _simple(
        lambda url: Server("fake_gcs", "gcs", url),
        # A public host without a port: reached through a proxy, it serves that one's address too.
        lambda address, _: [
            *[binary, "-scheme", "http", "-host", "127.0.0.1", "-port", address.rpartition(":")[2]],
            *["-backend", "memory", "-public-host", "127.0.0.1", "-external-url", f"http://{address}"],
        ],
        path="/storage/v1/b?project=test",
    )


# No authentication inside (`auth … = none`), where the gateway's own client then has to talk in crc mode or it loops; a
# short paxos interval, without which the start takes 13 s; one copy, in memory; no manager.
CEPH_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
paxos propose interval = 0.02
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
ms bind ipv6 = false
ms bind msgr1 = false
setuser match path = {folder}/none
[mon]
mon data = {folder}/mon
mon cluster log file = {folder}/cluster.log
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client.rgw]
ms mon client mode = crc
rgw frontends = beast endpoint={address} tcp_nodelay=1
rgw data = {folder}/rgw
rgw thread pool size = 64
rgw enable usage log = false
"""


@contextlib.contextmanager
def start_ceph() -> Iterator[Server]:
    """Ceph's object gateway with one monitor and one store in memory: real signatures; completes are not atomic."""
    names = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
    ceph, mon, osd, monmaptool, radosgw, admin = (program(name, "bash .ci/install-servers ceph") for name in names)
    address = f"127.0.0.1:{free_port()}"
    server = _s3("ceph")(f"http://{address}")
    with group("ceph") as running:
        folder, fsid, mon_port = running.folder, str(uuid.uuid4()), free_port()
        for part in ("mon", "osd", "rgw"):
            (folder / part).mkdir()
        conf = folder / "ceph.conf"
        conf.write_text(CEPH_CONF.format(folder=folder, fsid=fsid, mon_port=mon_port, address=address))
        config = ["-c", str(conf)]
        monmap = str(folder / "monmap")
        running.run([monmaptool, "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}/0]", monmap])
        running.run([mon, *config, "--mkfs", "-i", "a", "--monmap", monmap])
        running.start([mon, *config, "-f", "-i", "a"])
        number = running.run([ceph, *config, "--connect-timeout", "30", "osd", "create"]).strip()
        running.run([ceph, *config, "osd", "crush", "add", f"osd.{number}", "1.0", "root=default", "host=localhost"])
        running.run([osd, *config, "-i", number, "--mkfs"])
        running.start([osd, *config, "-f", "-i", number])
        running.start([radosgw, *config, "-f", "-n", "client.rgw"])
        running.wait_for(lambda: answers(server.url), "answering")
        user = ["--uid=test", "--display-name=test", f"--access-key={KEY}", f"--secret-key={SECRET}"]
        running.run([admin, *config, "-n", "client.rgw", "user", "create", *user])
        yield server


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[Server]]] = {
    "moto": start_moto,
    "ministack": start_ministack,
    "rclone": start_rclone,
    "ceph": start_ceph,
    "minio": start_minio,
    "fake_gcs": start_fake_gcs,
}
FROM_PIP = frozenset({"moto", "ministack", "rclone"})
