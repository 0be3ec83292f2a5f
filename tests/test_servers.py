"""The servers that other tests lean on are what their docstrings say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from . import servers
from .servers import Server


def _bucket_of(url: str) -> str:
    return url.split("/")[2]


def _status(call: Any, **arguments: Any) -> int:
    try:
        return int(call(**arguments)["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _create_twice(server: Server) -> tuple[int, int, bytes]:
    client, bucket = server.client(), _bucket_of(server.bucket())
    target = {"Bucket": bucket, "Key": "a/b c", "IfNoneMatch": "*"}
    first = _status(client.put_object, Body=b"first", **target)
    second = _status(client.put_object, Body=b"second", **target)
    return first, second, client.get_object(Bucket=bucket, Key="a/b c")["Body"].read()


@pytest.fixture(
    params=["moto", "ministack", *(pytest.param(name, marks=pytest.mark.server(name)) for name in ("ceph", "minio"))]
)
def any_s3(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def test_server_creates_an_object_once(any_s3: Server) -> None:
    assert _create_twice(any_s3) == (200, 412, b"first")


def test_one_of_racing_creates_succeeds(any_s3: Server) -> None:
    client, bucket = any_s3.client(), _bucket_of(any_s3.bucket())
    with ThreadPoolExecutor(16) as pool:
        for turn in range(20):
            target = {"Bucket": bucket, "Key": f"k{turn}", "IfNoneMatch": "*"}
            bodies = [b"by %d" % who for who in range(16)]
            answers = list(
                pool.map(lambda body, target=target: _status(client.put_object, Body=body, **target), bodies)
            )
            assert [answers.count(200), set(answers) <= {200, 409, 412}] == [1, True]
            there = client.get_object(Bucket=bucket, Key=f"k{turn}")["Body"].read()
            assert there == bodies[answers.index(200)]


def test_rclone_ignores_the_precondition(rclone: Server) -> None:
    assert _create_twice(rclone) == (200, 200, b"second")


@pytest.mark.parametrize("name", ["rclone", *(pytest.param(n, marks=pytest.mark.server(n)) for n in ("ceph", "minio"))])
def test_server_checks_signatures(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    stranger = Server(server.name, server.kind, server.url, server.key, "not the secret").client()
    assert _status(stranger.list_objects_v2, Bucket=_bucket_of(server.bucket())) == 403


def test_fake_gcs_creates_an_object_once(fake_gcs: Server) -> None:
    bucket = _bucket_of(fake_gcs.bucket())

    def create(body: bytes) -> int:
        head = b'--x\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--x\r\nContent-Type: text/plain\r\n\r\n'
        url = f"{fake_gcs.url}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&ifGenerationMatch=0"
        kind = {"Content-Type": "multipart/related; boundary=x"}
        request = urllib.request.Request(url, head + body + b"\r\n--x--\r\n", kind, method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert [create(b"first"), create(b"second")] == [200, 412]
    with urllib.request.urlopen(f"{fake_gcs.url}/storage/v1/b/{bucket}/o/a?alt=media") as answer:
        assert answer.read() == b"first"


def test_each_bucket_is_fresh(any_server: Server) -> None:
    assert any_server.bucket() != any_server.bucket()


OWNER = """
import sys
from tests import servers
with servers.group("x") as group:
    port = str(servers.free_port())
    group.start([sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1"])
    group.wait_for(lambda: servers.answers(f"http://127.0.0.1:{port}"), "answering")
    print(port, group.folder, flush=True)
    sys.stdin.read()
"""


def test_server_and_its_data_are_gone_when_its_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        port, folder = owner.stdout.readline().split()
        assert servers.answers(f"http://127.0.0.1:{port}")
        owner.send_signal(signal.SIGKILL)
    while servers.answers(f"http://127.0.0.1:{port}") or os.path.exists(folder):
        os.sched_yield()


def test_missing_server_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda *_, **__: None)
    with pytest.raises(servers.Missing, match=r"minio is not installed: bash \.ci/install-servers minio"):
        servers.start_minio()
