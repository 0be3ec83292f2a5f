"""The server that other tests expect to be refused is wrong in the way that it says, and right in all else."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .racy_server import Mode, serving
from .servers import Server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(getattr(request, "param", "racy")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Any:
    return server.client()


@pytest.fixture
def bucket(server: Server) -> str:
    return server.bucket().split("/")[2]


def modes(*names: Mode) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", names, indirect=True)


def _put(client: Any, bucket: str, body: bytes, **condition: str) -> int:
    try:
        answer = client.put_object(Bucket=bucket, Key="k", Body=body, **condition)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _upload(client: Any, bucket: str, *parts: bytes) -> dict[str, Any]:
    token = client.create_multipart_upload(Bucket=bucket, Key="k", ContentType="text/csv")["UploadId"]
    upload = {"Bucket": bucket, "Key": "k", "UploadId": token}
    done = [
        {"PartNumber": number, "ETag": client.upload_part(PartNumber=number, Body=body, **upload)["ETag"]}
        for number, body in enumerate(parts, 1)
    ]
    return {**upload, "MultipartUpload": {"Parts": done}}


def _read(client: Any, bucket: str) -> bytes:
    data: bytes = client.get_object(Bucket=bucket, Key="k")["Body"].read()
    return data


@modes("racy")
@pytest.mark.parametrize("condition", ["If-None-Match: *", "If-Match: {etag}"])
def test_racing_conditional_writes_all_succeed_and_a_later_one_is_refused(
    server: Server, client: Any, bucket: str, condition: str
) -> None:
    if "etag" in condition:
        condition = condition.format(etag=client.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"])
    name, _, value = condition.partition(": ")
    slow = http.client.HTTPConnection(server.url.removeprefix("http://"))
    slow.putrequest("PUT", f"/{bucket}/k")
    for header in ((name, value), ("Content-Length", "4"), ("Expect", "100-continue")):
        slow.putheader(*header)
    slow.endheaders()
    slow.send(b"sl")
    argument = {name.replace("-", ""): value}
    # "Go on" is answered once the condition has been checked. MSG_PEEK leaves it to the reader of the answer.
    assert slow.sock.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 100")
    assert _put(client, bucket, b"fast", **argument) == 200
    slow.send(b"ow")
    assert slow.getresponse().status == 200
    slow.close()
    assert _read(client, bucket) == b"slow"
    assert _put(client, bucket, b"late", **argument) == 412
    assert _read(client, bucket) == b"slow"


@modes("ignored")
def test_ignored_conditions_overwrite(client: Any, bucket: str) -> None:
    assert [_put(client, bucket, body, IfNoneMatch="*") for body in (b"first", b"second")] == [200, 200]
    assert _put(client, bucket, b"third", IfMatch="nonsense") == 200
    client.complete_multipart_upload(**_upload(client, bucket, b"fourth"), IfNoneMatch="*")
    assert _read(client, bucket) == b"fourth"


@modes("refused")
def test_refused_conditions_are_answered_501_and_plain_writes_pass(client: Any, bucket: str) -> None:
    assert _put(client, bucket, b"first", IfNoneMatch="*") == 501
    assert _put(client, bucket, b"first") == 200
    with pytest.raises(ClientError, match="NotImplemented"):
        client.complete_multipart_upload(**_upload(client, bucket, b"second"), IfNoneMatch="*")
    assert _read(client, bucket) == b"first"


@modes("racy")
def test_upload_in_parts_appears_when_completed_and_not_over_another(client: Any, bucket: str) -> None:
    first, second = _upload(client, bucket, b"a" * 10, b"b"), _upload(client, bucket, b"c")
    assert len(client.list_multipart_uploads(Bucket=bucket, Prefix="k")["Uploads"]) == 2
    client.complete_multipart_upload(**first, IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.complete_multipart_upload(**second, IfNoneMatch="*")
    second.pop("MultipartUpload")
    client.abort_multipart_upload(**second)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert _read(client, bucket) == b"a" * 10 + b"b"
    assert client.head_object(Bucket=bucket, Key="k")["ContentType"] == "text/csv"


@modes("racy")
def test_listing_goes_by_folders_and_pages_in_key_order(client: Any, bucket: str) -> None:
    keys = ["a/!1", "a/0", "a/b/0", "a/b/1", "a/b c/ü&<", "a/é", "b"]
    for key in reversed(keys):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")

    def listed(**arguments: Any) -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, **arguments)
        return [
            found.get("Key") or found["Prefix"]
            for page in pages
            for found in [*page.get("Contents", []), *page.get("CommonPrefixes", [])]
        ]

    assert sorted(listed(), key=str.encode) == sorted(keys, key=str.encode)
    for size in (1, 2, 1000):
        found = listed(Prefix="a/", Delimiter="/", PaginationConfig={"PageSize": size})
        assert sorted(found) == ["a/!1", "a/0", "a/b c/", "a/b/", "a/é"]
    assert listed(Prefix="a/", StartAfter="a/b/0") == ["a/b/1", "a/é"]


@modes("racy")
def test_ranges_deletes_and_what_is_missing(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for asked, answer in {"bytes=2-4": b"234", "bytes=8-99": b"89", "bytes=-3": b"789", "bytes=4-": b"456789"}.items():
        assert client.get_object(Bucket=bucket, Key="k", Range=asked)["Body"].read() == answer
    with pytest.raises(ClientError, match="InvalidRange"):
        client.get_object(Bucket=bucket, Key="k", Range="bytes=10-11")
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "never"}]})
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client.list_objects_v2(Bucket="no-such-bucket")


@modes("racy")
def test_s3fs_works_with_it(server: Server) -> None:
    import s3fs

    bucket = server.bucket()
    fs = s3fs.S3FileSystem(**server.own_options, use_listings_cache=False, skip_instance_cache=True)
    fs.pipe_file(f"{bucket}/a", b"first", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{bucket}/a", b"second", mode="create")
    with fs.open(f"{bucket}/big", "wb", block_size=5 * 2**20) as file:
        file.write(b"x" * 12 * 2**20)
    assert fs.cat_file(f"{bucket}/big", start=5, end=8) == b"xxx"
    assert [path.rsplit("/")[-1] for path in fs.ls(bucket, detail=False)] == ["a", "big"]
    fs.rm(bucket, recursive=True)
    assert fs.find(bucket) == []
