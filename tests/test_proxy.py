"""The proxy that other tests count and spoil requests with, in front of moto."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from .proxy import CUT, DROP, REFUSE, SLOW_DOWN, Hold, Proxy, in_front_of
from .servers import Server


@pytest.fixture
def front(moto: Server) -> Iterator[Proxy]:
    with in_front_of(moto.url) as proxy:
        yield proxy


@pytest.fixture
def client(moto: Server, front: Proxy) -> Any:
    return moto.at(front.url).client()


@pytest.fixture
def bucket(moto: Server) -> str:
    return moto.bucket().split("/")[2]


def _keys(moto: Server, bucket: str) -> list[str]:
    return [entry["Key"] for entry in moto.client().list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_requests_are_seen_with_their_path_query_and_body_size(front: Proxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a b/c%d", Body=b"x" * 100_000, IfNoneMatch="*")
    assert client.get_object(Bucket=bucket, Key="a b/c%d")["Body"].read() == b"x" * 100_000
    client.head_object(Bucket=bucket, Key="a b/c%d")
    client.list_objects_v2(Bucket=bucket, Prefix="a b/", MaxKeys=7)
    client.delete_object(Bucket=bucket, Key="a b/c%d")
    put, get, head, listing, delete = front.requests
    assert (put.method, put.path, put.body_bytes, put.status) == ("PUT", f"/{bucket}/a b/c%d", 100_000, 200)
    assert put.headers["if-none-match"] == "*"
    assert [get.method, head.method, delete.method] == ["GET", "HEAD", "DELETE"]
    assert (listing.query["list-type"], listing.query["prefix"], listing.query["max-keys"]) == ("2", "a b/", "7")
    assert str(get) == f"GET /{bucket}/a b/c%d"


def test_counted_sees_only_its_own_block(front: Proxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    with front.counted() as seen:
        client.head_object(Bucket=bucket, Key="k")
    client.head_object(Bucket=bucket, Key="k")
    assert [request.method for request in seen] == ["HEAD"]


def test_errors_of_the_server_pass(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="k", Body=b"second", IfNoneMatch="*")


def test_one_connection_carries_many_requests(front: Proxy, bucket: str) -> None:
    connection = http.client.HTTPConnection(front.url.removeprefix("http://"))
    for number in range(3):
        connection.request("PUT", f"/{bucket}/{number}", body=b"abc")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()
    assert [request.body_bytes for request in front.requests] == [3, 3, 3]


def test_chunked_body_is_counted_without_its_framing(front: Proxy, bucket: str) -> None:
    connection = http.client.HTTPConnection(front.url.removeprefix("http://"))
    connection.request("PUT", f"/{bucket}/k", body=iter([b"abc", b"defg"]), encode_chunked=True)
    connection.getresponse().read()
    connection.close()
    assert [(request.method, request.body_bytes) for request in front.requests] == [("PUT", 7)]


def test_client_that_asks_before_its_body_is_answered(front: Proxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * 3_000_000)
    assert front.requests[0].headers["expect"] == "100-continue"
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 3_000_000


def test_dropped_answer_leaves_the_object_there(moto: Server, front: Proxy, client: Any, bucket: str) -> None:
    lost = front.once(DROP, method="PUT")
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert (lost.hits, _keys(moto, bucket), front.requests[0].status) == (1, ["k"], 200)
    client.put_object(Bucket=bucket, Key="l", Body=b"x")


def test_refused_request_never_reaches_the_server(moto: Server, front: Proxy, client: Any, bucket: str) -> None:
    front.once(REFUSE, method="PUT")
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert _keys(moto, bucket) == []


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_slow_down_is_answered_for_the_server(moto: Server, front: Proxy, client: Any, bucket: str, size: int) -> None:
    front.once(SLOW_DOWN, method="PUT")
    with pytest.raises(ClientError, match="SlowDown"):
        client.put_object(Bucket=bucket, Key="k", Body=b"x" * size)
    assert _keys(moto, bucket) == []


def test_cut_answer_ends_in_the_middle_of_its_body(front: Proxy, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * 1000)
    front.once(CUT, method="GET")
    with pytest.raises(BotoCoreError, match=r"IncompleteRead|broken"):
        client.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert len(client.get_object(Bucket=bucket, Key="k")["Body"].read()) == 1000


def test_held_request_reaches_the_server_when_released(moto: Server, front: Proxy, client: Any, bucket: str) -> None:
    hold = Hold()
    front.once(hold, method="PUT")
    with ThreadPoolExecutor() as pool:
        saving = pool.submit(client.put_object, Bucket=bucket, Key="k", Body=b"x")
        hold.wait()
        assert _keys(moto, bucket) == []
        hold.release()
        saving.result()
    assert _keys(moto, bucket) == ["k"]


def test_held_request_lands_late_where_the_client_gave_up(moto: Server, front: Proxy, bucket: str) -> None:
    hold = Hold()
    front.once(hold, method="PUT")
    connection = http.client.HTTPConnection(front.url.removeprefix("http://"))
    connection.request("PUT", f"/{bucket}/k", body=b"late")
    hold.wait()
    connection.close()
    hold.release()
    assert _keys(moto, bucket) == ["k"]


def test_held_request_is_never_sent_where_the_proxy_ends(moto: Server, bucket: str) -> None:
    hold = Hold()
    with in_front_of(moto.url) as proxy:
        proxy.once(hold, method="PUT")
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
        connection.request("PUT", f"/{bucket}/k", body=b"never")
        hold.wait()
    connection.close()
    assert _keys(moto, bucket) == []


def test_nth_request_of_a_path_is_struck(front: Proxy, client: Any, bucket: str) -> None:
    struck = front.once(SLOW_DOWN, method="PUT", path="/wanted$", nth=1)
    for key in ("other", "wanted", "other"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    with pytest.raises(ClientError):
        client.put_object(Bucket=bucket, Key="wanted", Body=b"x")
    client.put_object(Bucket=bucket, Key="wanted", Body=b"x")
    assert struck.hits == 1


def test_no_thread_is_left_when_the_proxy_ends(moto: Server, bucket: str) -> None:
    before = threading.active_count()
    with in_front_of(moto.url) as proxy:
        connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"))
        connection.request("GET", f"/{bucket}")
        connection.getresponse().read()
    connection.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.server(n)) for n in ("ceph", "minio")])
def test_signatures_hold_through_the_proxy(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    with in_front_of(server.url) as proxy:
        client, bucket = server.at(proxy.url).client(), server.bucket().split("/")[2]
        client.put_object(Bucket=bucket, Key="a b", Body=b"x" * 3_000_000)
        assert client.get_object(Bucket=bucket, Key="a b")["Body"].read() == b"x" * 3_000_000
        assert [seen.status for seen in proxy.requests] == [200, 200]
