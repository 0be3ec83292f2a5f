"""Floors of listings: the requests that artifactfs needs, by bare clients, where it is known already what they will find."""

from __future__ import annotations

import asyncio
from typing import Any

from .filling import NAME, hints
from .floors import ObstoreAwaited, S3fsAwaited
from .services import SCOPE

SESSION = f"prefix/{'/'.join(SCOPE)}/"
FOLDER = f"{SESSION}{NAME}/"
PAGE = 1000


class _Listings:
    """Of an artifact of *count* versions, or of a session of many artifacts. A page is what one request brings."""

    count: int

    async def page(self, after: str = "") -> int:
        """One page of the keys of the artifact behind *after*; how many they are."""
        raise NotImplementedError

    async def _get(self, key: str) -> Any:
        raise NotImplementedError

    async def latest(self, name: str) -> None:
        """Three requests, the last two at the same time; where one page does not hold all keys, two more."""
        if await self.page() == PAGE:
            await self.page(str(hints(self.count)[-1]))
            await self.page("1" + "0" * len(str(self.count - 1)))
        await asyncio.gather(self._get(f"{FOLDER}{self.count - 1}.metadata"), self._get(f"{FOLDER}{self.count - 1}"))


class ObstoreListings(_Listings, ObstoreAwaited):
    def __init__(self, count: int, **told: str) -> None:
        super().__init__(**told)
        self.count = count

    async def page(self, after: str = "") -> int:
        async for found in self.store.list(FOLDER, offset=FOLDER + after if after else None, chunk_size=PAGE):
            return len(found)
        return 0

    async def _get(self, key: str) -> Any:
        return await ObstoreAwaited._get(self, key)

    async def versions(self, name: str) -> None:
        async for _ in self.store.list(FOLDER, chunk_size=PAGE):
            pass

    async def names(self) -> None:
        await self.store.list_with_delimiter_async(SESSION)


class S3fsListings(_Listings, S3fsAwaited):
    def __init__(self, count: int, **told: str) -> None:
        super().__init__(**told)
        self.count = count

    async def page(self, after: str = "") -> int:
        return len((await self._list(Prefix=FOLDER, StartAfter=FOLDER + after)).get("Contents", ()))

    async def _list(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self.fs._call_s3("list_objects_v2", Bucket=self.bucket, **more)
        return found

    async def _get(self, key: str) -> Any:
        return await S3fsAwaited._get(self, key)

    async def versions(self, name: str) -> None:
        await self._all(Prefix=FOLDER)

    async def names(self) -> None:
        await self._all(Prefix=SESSION, Delimiter="/")

    async def _all(self, **more: Any) -> None:
        found = await self._list(**more)
        while found["IsTruncated"]:
            found = await self._list(ContinuationToken=found["NextContinuationToken"], **more)
