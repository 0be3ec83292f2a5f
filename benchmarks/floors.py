"""Floors: the least that a save and a load of two objects take with a given client, with nothing decided and checked."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from .services import RECORD, Floor, loop


class Dict(Floor):
    """Two entries of a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, bytes] = {}

    def save(self, name: str, data: bytes) -> None:
        key = self.fresh(name)
        self.kept[key + ".metadata"] = RECORD
        self.kept[key] = data

    def load(self, name: str) -> bytes:
        key = self.known(name)
        return self.kept[key + ".metadata"] and self.kept[key]


class Files(Floor):
    """Two files, written as one writes files."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root

    def fresh(self, name: str) -> str:
        folder = f"{self.root}/{name}"
        if name not in self._first:
            os.mkdir(folder)
        return f"{self.root}/{super().fresh(name)}"

    def known(self, name: str) -> str:
        return f"{self.root}/{super().known(name)}"

    def save(self, name: str, data: bytes) -> None:
        path = self.fresh(name)
        for end, content in ((".metadata", RECORD), ("", data)):
            with open(path + end, "wb") as file:
                file.write(content)

    def load(self, name: str) -> bytes:
        path = self.known(name)
        with open(path + ".metadata", "rb") as file:
            file.read()
        with open(path, "rb") as file:
            return file.read()


class SyncedFiles(Files):
    """Two files that outlive a power cut: a temporary file, synced, linked to its name; the folder synced."""

    def save(self, name: str, data: bytes) -> None:
        path = self.fresh(name)
        folder = os.path.dirname(path)
        for end, content in ((".metadata", RECORD), ("", data)):
            temporary = f"{folder}/.tmp-{os.urandom(12).hex()}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                os.write(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.link(temporary, path + end)
            os.unlink(temporary)
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def _obstore(bucket: str, endpoint: str, key: str, secret: str) -> Any:
    from obstore.store import S3Store

    return S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id=key,
        secret_access_key=secret,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


class Obstore(Floor):
    """Two creates, one after the other, as artifactfs needs them; two reads."""

    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        super().__init__()
        self.store = _obstore(bucket, endpoint, key, secret)

    def save(self, name: str, data: bytes) -> None:
        key = self.fresh(name)
        self.store.put(key + ".metadata", RECORD, mode="create", use_multipart=False)
        self.store.put(key, data, mode="create", use_multipart=False)

    def load(self, name: str) -> Any:
        key = self.known(name)
        self.store.get(key + ".metadata").bytes()
        return self.store.get(key).bytes()


class ObstoreAwaited(Obstore):
    """The same, awaited; the two reads at the same time."""

    async def save(self, name: str, data: bytes) -> None:  # type: ignore[override]
        key = self.fresh(name)
        await self.store.put_async(key + ".metadata", RECORD, mode="create", use_multipart=False)
        await self.store.put_async(key, data, mode="create", use_multipart=False)

    async def load(self, name: str) -> Any:
        key = self.known(name)
        return (await asyncio.gather(self._get(key + ".metadata"), self._get(key)))[1]

    async def _get(self, key: str) -> Any:
        return await (await self.store.get_async(key)).bytes_async()


class S3fsAwaited(Floor):
    """s3fs's own calls of the two methods, on the caller's loop."""

    awaited = True

    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        import s3fs

        super().__init__()
        self.bucket = bucket
        # Not awaited it is the one that s3fs keeps: its finalizer fails where another loop runs.
        self.fs = s3fs.S3FileSystem(
            key=key, secret=secret, endpoint_url=endpoint, asynchronous=self.awaited, skip_instance_cache=self.awaited
        )
        if self.awaited:
            self.session = loop().run_until_complete(self.fs.set_session())

    async def save(self, name: str, data: bytes) -> None:
        key = self.fresh(name)
        await self._put(key + ".metadata", RECORD)
        await self._put(key, data)

    async def load(self, name: str) -> bytes:
        key = self.known(name)
        return (await asyncio.gather(self._get(key + ".metadata"), self._get(key)))[1]

    async def _put(self, key: str, data: bytes) -> None:
        await self.fs._call_s3("put_object", Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")

    async def _get(self, key: str) -> bytes:
        answer = await self.fs._call_s3("get_object", Bucket=self.bucket, Key=key)
        async with answer["Body"] as body:
            found: bytes = await body.read()
        return found

    def close(self) -> None:
        loop().run_until_complete(self.session.close())


class S3fs(S3fsAwaited):
    """The same through `fsspec.asyn.sync`, a hop to s3fs's own thread for each of the two creates, one for the reads."""

    awaited = False

    def save(self, name: str, data: bytes) -> None:  # type: ignore[override]
        from fsspec.asyn import sync

        key = self.fresh(name)
        sync(self.fs.loop, self._put, key + ".metadata", RECORD)
        sync(self.fs.loop, self._put, key, data)

    def load(self, name: str) -> bytes:  # type: ignore[override]
        from fsspec.asyn import sync

        found: bytes = sync(self.fs.loop, super().load, name)
        return found

    def close(self) -> None: ...


class Boto3(Floor):
    """boto3's client, which threads share."""

    def __init__(self, bucket: str, endpoint: str, key: str, secret: str) -> None:
        import boto3
        from botocore.config import Config

        super().__init__()
        self.bucket = bucket
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=64),
        )

    def save(self, name: str, data: bytes) -> None:
        key = self.fresh(name)
        self.client.put_object(Bucket=self.bucket, Key=key + ".metadata", Body=RECORD, IfNoneMatch="*")
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")

    def load(self, name: str) -> bytes:
        key = self.known(name)
        self._get(key + ".metadata")
        return self._get(key)

    def _get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=self.bucket, Key=key)["Body"] as body:
            found: bytes = body.read()
        return found

    def close(self) -> None:
        self.client.close()


# --- Google Cloud Storage ---------------------------------------------------------------------------------------------


class GcsfsAwaited(Floor):
    """gcsfs's own exclusive create and read, on the caller's loop."""

    def __init__(self, bucket: str, endpoint: str) -> None:
        import gcsfs

        super().__init__()
        self.bucket = bucket
        self.fs = gcsfs.GCSFileSystem(
            endpoint_url=endpoint, token="anon", project="test", asynchronous=True, skip_instance_cache=True
        )
        self.session = loop().run_until_complete(self.fs._set_session())

    async def save(self, name: str, data: bytes) -> None:
        key = f"{self.bucket}/{self.fresh(name)}"
        await self.fs._pipe_file(key + ".metadata", RECORD, mode="create")
        await self.fs._pipe_file(key, data, mode="create")

    async def load(self, name: str) -> bytes:
        key = f"{self.bucket}/{self.known(name)}"
        found: bytes = (await asyncio.gather(self.fs._cat_file(key + ".metadata"), self.fs._cat_file(key)))[1]
        return found

    def close(self) -> None:
        loop().run_until_complete(self.session.close())
