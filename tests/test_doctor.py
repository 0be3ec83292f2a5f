"""The verdict that a person needs, from each real server and for each way in which a store is commonly set up wrong."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from artifactfs import AccessDenied, ArtifactStore
from artifactfs.backends.base import Written
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.memory import MemoryBackend
from artifactfs.doctor import Diagnosis, access, buckets, diagnose
from artifactfs.drivers import call
from artifactfs.keys.keyring import new_key
from artifactfs.testing.store_base import keys_below

from . import servers
from .servers import KEY, SECRET, Server

_fresh = itertools.count()


def examined(server: Server, url: str = "", **options: Any) -> Diagnosis:
    return diagnose(url or server.bucket(), **{**server.storage_options, **options})


def states(found: Diagnosis) -> dict[str, str]:
    return {check.name: check.state for check in found.checks}


def bad(found: Diagnosis) -> dict[str, str]:
    return {name: state for name, state in states(found).items() if state in ("warning", "failed")}


# stores that are as they should be


@pytest.mark.parametrize(
    "name",
    [
        "moto",
        "ministack",
        pytest.param("ceph", marks=pytest.mark.server("ceph")),
        pytest.param("minio", marks=pytest.mark.server("minio")),
        pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs")),
    ],
)
def test_a_server_that_can_be_used_is_said_to_be_so_and_nothing_is_left_in_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    url = server.bucket()
    found = examined(server, url)
    assert bad(found) == {}, found
    assert (found.verdict, found.store) == ("ok", url)
    assert found.summary == f"{url} can be used for reading and saving."
    assert found.check("guarantees").facts["create"] == "atomic"
    assert found.check("latency").facts["read_seconds"] > 0
    if server.kind == "s3":
        wanted = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
        assert {f"permission {one}" for one in wanted} <= {one for one, state in states(found).items() if state == "ok"}
    store = ArtifactStore(url, **server.storage_options)
    assert [key for key in keys_below(store, "") if "doctor" in key] == []
    assert call(store.backend, lambda: store.backend.unfinished("")) in ([], ())


@pytest.mark.parametrize("url", ["memory://examined", "folder"])
def test_memory_and_a_folder_can_be_used(url: str, tmp_path: Path) -> None:
    url = url if "://" in url else str(tmp_path / url)
    found = diagnose(url)
    assert (found.verdict, bad(found)) == ("ok", {})
    assert json.loads(msgspec.json.encode(found))["verdict"] == "ok"


def test_a_folder_that_was_not_there_is_told(tmp_path: Path) -> None:
    for state in ("note", "ok"):
        found = diagnose(tmp_path / "mistyped")
        assert (found.verdict, found.check("configuration").state) == ("ok", state)


def test_the_configuration_tells_the_store_where_no_url_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_URL", str(tmp_path / "store"))
    assert diagnose().store == f"file://{tmp_path}/store"


def test_nothing_is_written_where_the_store_may_only_be_read(tmp_path: Path) -> None:
    with ArtifactStore(tmp_path) as store:
        store.scope("shop", "alice", "s1").save("x", b"0")
    before = sorted(tmp_path.rglob("*"))
    found = diagnose(tmp_path, read_only=True)
    assert found.summary == f"file://{tmp_path} can be used for reading."
    assert "permission create" not in states(found)
    assert sorted(tmp_path.rglob("*")) == before


# what does not work


def test_without_any_configuration_it_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = diagnose()
    assert (found.verdict, states(found)) == ("failed", {"configuration": "failed"})
    assert "ARTIFACTFS_URL" in found.summary


@pytest.mark.parametrize(
    ("options", "says"), [({"durability": "maybe"}, "durability is 'maybe'"), ({"keys": "v1:short"}, "key")]
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    found = diagnose(tmp_path, **options)
    assert found.verdict == "failed" and says in found.check("configuration").says


def test_a_closed_port_is_told(moto: Server) -> None:
    found = examined(moto, "s3://bucket/prefix", endpoint_url=f"http://127.0.0.1:{servers.free_port()}")
    assert (found.verdict, states(found)) == ("failed", {"configuration": "ok", "clock": "skipped", "reach": "failed"})
    assert "refused the connection" in found.summary and "server runs" in found.summary


@pytest.mark.parametrize(
    "name",
    [
        "moto",
        pytest.param("minio", marks=pytest.mark.server("minio")),
        pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs")),
    ],
)
def test_a_wrong_bucket_is_told(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    scheme = "gs" if server.kind == "gcs" else "s3"
    found = examined(server, f"{scheme}://no-such-bucket-here/prefix")
    assert found.verdict == "failed" and found.check("reach").state == "failed"
    assert "no-such-bucket-here" in found.summary and "create it" in found.summary


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"key": "NOBODY"}, "does not know this access key id"),
        ({"secret": "wrong"}, "secret access key does not belong"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [pytest.param("minio", marks=pytest.mark.server("minio")), pytest.param("ceph", marks=pytest.mark.server("ceph"))],
)
def test_a_wrong_key_is_told_as_such_and_not_as_missing_permissions(
    name: str, wrong: dict[str, str], says: str, request: pytest.FixtureRequest
) -> None:
    found = examined(request.getfixturevalue(name), **wrong)
    assert (found.verdict, bad(found)) == ("failed", {"credentials": "failed"})
    assert says in found.summary
    assert SECRET not in str(found)


def allowed_on_minio(minio: Server, url: str, *actions: str) -> dict[str, Any]:
    """Credentials that may do these things in a bucket of MinIO, and nothing else."""
    bucket = url.split("/")[2]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
    sts = boto3.client(
        "sts",
        endpoint_url=minio.url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    role = {"RoleArn": "arn:aws:iam::123456789012:role/any", "RoleSessionName": "doctor"}
    given = sts.assume_role(**role, Policy=json.dumps(policy))["Credentials"]
    return {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "token": given["SessionToken"]}


READS = ("s3:GetObject", "s3:ListBucket")


@pytest.mark.server("minio")
def test_credentials_that_may_only_read_are_told_by_what_they_lack(minio: Server) -> None:
    url = minio.bucket()
    found = examined(minio, url, **allowed_on_minio(minio, url, *READS))
    assert (found.verdict, bad(found)) == ("failed", {"permission s3:PutObject": "failed"})
    assert found.check("permission s3:GetObject").state == found.check("permission s3:ListBucket").state == "ok"
    assert "allow s3:PutObject: saves need it" in found.summary
    reading = examined(minio, url, **allowed_on_minio(minio, url, *READS), read_only=True)
    assert reading.verdict == "ok" and reading.summary == f"{url} can be used for reading."


@pytest.mark.server("minio")
@pytest.mark.parametrize("lacks", ["s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"])
def test_each_permission_that_is_missing_is_named(minio: Server, lacks: str) -> None:
    every = {*READS, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"}
    url = minio.bucket()
    found = examined(minio, url, **allowed_on_minio(minio, url, *(every - {lacks})))
    assert f"permission {lacks}" in bad(found), found
    assert f"allow {lacks}" in found.check(f"permission {lacks}").do


@pytest.mark.server("minio")
def test_control_a_doctor_that_tries_nothing_finds_nothing(minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access.Access, "permitted", lambda self, name, make, needed: Written(True, tag="t"))
    monkeypatch.setattr(access, "_uploads", lambda access: None)
    url = minio.bucket()
    found = examined(minio, url, **allowed_on_minio(minio, url, *READS))
    assert not [name for name in bad(found) if name.startswith("permission")]


def test_a_store_whose_creates_are_not_atomic_is_told(rclone: Server) -> None:
    found = examined(rclone)
    assert found.verdict == "failed" and found.check("guarantees").state == "failed"
    assert "ignores that a key exists already" in found.check("guarantees").says
    alone = examined(rclone, single_writer=True)
    assert alone.check("guarantees").state == "note"


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: LocalBackend, key: str, data: bytes, content_type: str) -> Written:
        raise AccessDenied(f"{self.url} may not be written")

    monkeypatch.setattr(LocalBackend, "create", refused)
    found = diagnose(tmp_path)
    assert (found.verdict, bad(found)) == ("failed", {"permission create": "failed"})
    assert "may not be written" in found.summary


# clocks


class Skewed(http.server.BaseHTTPRequestHandler):
    """A store two hours in the past, which therefore refuses every request."""

    def do_GET(self) -> None:
        body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>"
        self.send_response_only(403)
        self.send_header("Date", formatdate(datetime.now(UTC).timestamp() - 7200, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def skewed() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Skewed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_clock_that_makes_the_store_refuse_everything_is_told(skewed: str) -> None:
    found = diagnose("s3://bucket/prefix", endpoint_url=skewed, key="k", secret="s")
    assert found.verdict == "failed"
    assert "clock of this machine" in found.check("credentials").says
    assert found.check("clock").state == "warning"
    assert 7190 < found.check("clock").facts["ahead_seconds"] < 7300


@pytest.mark.parametrize(
    ("store_is_off_by", "state"), [(-600, "warning"), (-30, "ok"), (0, "ok"), (30, "ok"), (600, "warning")]
)
def test_a_clock_that_is_far_from_the_stores_is_told(
    store_is_off_by: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def now(self: MemoryBackend) -> float:
        return datetime.now(UTC).timestamp() + store_is_off_by

    monkeypatch.setattr(MemoryBackend, "now", now)
    found = diagnose(f"memory://clock-{next(_fresh)}")
    assert (found.check("clock").state, found.verdict) == (state, "ok" if state == "ok" else "warning")


# keys


def test_keys_that_work_are_said_to_and_those_that_do_not_fit_what_is_stored_are_told() -> None:
    url, key = f"memory://keys-{next(_fresh)}", new_key("v1")
    assert diagnose(url, keys=key).check("keys").state == "ok"
    with ArtifactStore(url, keys=key) as store:
        store.scope("shop", "alice", "s1").save("x", b"0")
    assert diagnose(url, keys=key).verdict == "ok"
    without = diagnose(url, keys="none")
    assert without.verdict == "failed" and "sealed with v1" in without.summary
    other = diagnose(url, keys=new_key("v2"))
    assert other.verdict == "warning" and "v1, which is not among them" in other.summary
    with ArtifactStore(url, keys="none") as store:
        store.scope("shop", "alice", "s2").save("x", b"0")
    mixed = diagnose(url, keys=key)
    assert mixed.verdict == "warning" and "accept_plain" in mixed.summary
    assert diagnose(url, keys=key, accept_plain=True).verdict == "ok"
    assert key.partition(":")[2] not in str(mixed)


class Forgetful:
    """A keeper of keys that does not give back what it was given."""

    ids = ("v1",)

    def wrap(self, key_id: str, data_key: bytes, identity: Any) -> bytes:
        return bytes(40)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Any) -> bytes:
        raise RuntimeError("no connection")


def test_a_keeper_of_keys_that_fails_is_told() -> None:
    found = diagnose(f"memory://keys-{next(_fresh)}", keys=Forgetful(), active_key_id="v1")
    assert found.verdict == "failed" and "Forgetful" in found.check("keys").says


# settings of buckets


_BOTH = pytest.mark.parametrize("name", ["moto", pytest.param("minio", marks=pytest.mark.server("minio"))])


@_BOTH
def test_a_bucket_that_keeps_versions_of_its_own_is_told(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    url = server.bucket()
    client, bucket = server.client(), url.split("/")[2]
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = examined(server, url)
    assert (found.verdict, bad(found)) == ("warning", {"versioning": "warning"})
    assert "noncurrent versions" in found.summary


@_BOTH
def test_a_bucket_that_locks_objects_is_told(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    client, bucket = server.client(), f"locked-{next(_fresh)}-{name}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    found = examined(server, f"s3://{bucket}/prefix")
    assert found.check("object lock").state == "warning"
    assert found.verdict == {"moto": "failed", "minio": "warning"}[name]  # moto, as AWS, wants a digest with each write
    assert name == "minio" or "MissingUploadObjectWithObjectLockHeaders" in found.summary
    assert "keeps every object for 30 days" in found.check("object lock").says


@_BOTH
@pytest.mark.parametrize(("prefix", "hurts"), [("", True), ("pre", True), ("prefix/shop/", True), ("other/", False)])
def test_a_lifecycle_rule_that_deletes_what_is_stored_is_told(
    name: str, prefix: str, hurts: bool, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    url = server.bucket()
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 7}}
    server.client().put_bucket_lifecycle_configuration(
        Bucket=url.split("/")[2], LifecycleConfiguration={"Rules": [rule]}
    )
    found = examined(server, url)
    assert bad(found) == ({"lifecycle": "failed"} if hurts else {})
    if hurts:
        assert "'tidy' deletes objects of this store after 7 days" in found.summary


@pytest.mark.server("fake_gcs")
def test_a_google_bucket_that_keeps_versions_is_told(fake_gcs: Server) -> None:
    name = f"versioned-{next(_fresh)}-bucket"
    servers._post(f"{fake_gcs.url}/storage/v1/b?project=test", {"name": name, "versioning": {"enabled": True}})
    found = examined(fake_gcs, f"gs://{name}/prefix")
    assert found.check("versioning").state == "warning", found


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ({"Status": "Disabled", "Expiration": {"Days": 1}}, "ok"),
        ({"Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}, "ok"),
        (
            {"Status": "Enabled", "Filter": {"And": {"Prefix": "prefix/", "Tags": [{}]}}, "Expiration": {"Days": 1}},
            "ok",
        ),
        ({"Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}, "ok"),
        ({"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}, "ok"),
        ({"Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}}, "ok"),
        ({"Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "STANDARD_IA"}]}, "ok"),
        ({"Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, "failed"),
        (
            {"Status": "Enabled", "Prefix": "prefix/", "Expiration": {"Date": datetime(2027, 1, 1, tzinfo=UTC)}},
            "failed",
        ),
        ({"Status": "Enabled", "Filter": {"And": {"Prefix": "prefix/"}}, "Expiration": {"Days": 1}}, "failed"),
    ],
)
def test_only_rules_that_hurt_what_is_stored_are_told(rule: dict[str, Any], state: str) -> None:
    (check,) = buckets.lifecycle({"Rules": [rule]}, "prefix/")
    assert check.state == state


@pytest.mark.parametrize(
    ("settings", "name", "state"),
    [
        ({}, "lifecycle", "ok"),
        ({"retentionPolicy": {"retentionPeriod": "86400"}}, "retention policy", "failed"),
        ({"defaultEventBasedHold": True}, "retention policy", "failed"),
        ({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}, "soft delete", "note"),
        ({"softDeletePolicy": {"retentionDurationSeconds": "0"}}, "lifecycle", "ok"),
        ({"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}}, "lifecycle", "failed"),
        (
            {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 3, "matchesPrefix": ["o/"]}}]}},
            "lifecycle",
            "ok",
        ),
        (
            {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"numNewerVersions": 1}}]}},
            "lifecycle",
            "ok",
        ),
        (
            {"lifecycle": {"rule": [{"action": {"type": "SetStorageClass"}, "condition": {"age": 3}}]}},
            "lifecycle",
            "ok",
        ),
    ],
)
def test_settings_of_a_google_bucket_are_judged(settings: dict[str, Any], name: str, state: str) -> None:
    assert {check.name: check.state for check in buckets.gcs_settings(settings, "prefix/")}[name] == state


def test_a_disk_that_is_nearly_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 1000 * 2**30, "free": 2**30})
    monkeypatch.setattr(buckets.shutil, "disk_usage", lambda _: usage)
    found = diagnose(tmp_path)
    assert (found.verdict, bad(found)) == ("warning", {"disk": "warning"})
    assert "prune" in found.summary
