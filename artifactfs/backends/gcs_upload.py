"""A streamed create on Google Cloud Storage: a resumable upload session, in chunks, with the last one held back.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

from artifactfs.backends.base import WHOLE_LIMIT, Backend, Written
from artifactfs.backends.gcs_errors import Refused, transient, unsent
from artifactfs.backends.gcs_wire import Answer, Wire, check
from artifactfs.backends.retry import GaveUp, retrying
from artifactfs.codecs.base import Bytes
from artifactfs.errors import BackendError, BackendUnavailable

CHUNK = WHOLE_LIMIT
"""Bytes: a multiple of the 256 KiB that sessions take. What fits into one chunk is one plain create."""

FINISHED = frozenset({200, 201})
GONE = frozenset({404, 410})  # the session has ended: by its end, by an abort, or after a week
GO_ON = 308
LOST = 412  # the precondition failed
CANCELLED = 499


class GCSUpload:
    """`artifactfs.backends.base.Upload`: at most two chunks are in memory.

    A chunk whose answer was lost is not sent blindly again: the session is asked how far it got. Only Google's own
    upload service is asked, which is known by a header of its answers; an emulator may take the question for the end
    of the upload (fake-gcs-server does) and publish a part. There, a stream whose connection breaks has failed.
    """

    def __init__(self, backend: Backend, wire: Wire, key: str, name: str, content_type: str) -> None:
        self._backend = backend
        self._wire = wire
        self._key = key
        self._name = name
        self._content_type = content_type
        self._buffer = bytearray()
        self._offset = 0  # bytes that the session has taken for good
        self._session = ""  # its URL, which lets anyone who has it write: never shown
        self._can_ask = False
        self._unsure = False  # a commit failed: it may have taken effect
        self._ended = False  # nothing can be committed by this upload any more

    async def write(self, data: Bytes) -> None:
        rest = memoryview(data)
        while rest:
            if len(self._buffer) == CHUNK:  # and more to come, so this chunk is not the last
                await self._flush()
            room = CHUNK - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]

    async def commit(self) -> Written:
        if self._ended:
            return await self._look(1)
        if not self._session:
            return await self._backend.create(self._key, bytes(self._buffer), self._content_type)
        try:
            answer, tries = await self._push(bytes(self._buffer), last=True)
        except GaveUp as gave_up:
            self._unsure = True
            if not self._can_ask and not all(unsent(error) for error in gave_up.failures):
                return await self._look(len(gave_up.failures) + 1)
            raise self._wire.explained(gave_up, f"complete the upload of {self._key!r}", True) from gave_up.last
        self._ended = True
        if answer.status in FINISHED:
            self._session = ""
            return Written(True, tries, self._wire.parsed(answer).get("generation", ""))
        if answer.status == LOST:
            return Written(False, tries)
        return await self._look(tries)

    async def abort(self) -> None:
        session, self._session = self._session, ""
        self._ended = True
        self._buffer.clear()
        if session:
            good = FINISHED | GONE | {204, CANCELLED}
            await self._wire.request(f"abort the upload of {self._key!r}", "DELETE", session, good=good)

    async def _look(self, tries: int) -> Written:
        """The answer of a commit that the session cannot give any more: is there an object, ours or another's?"""
        if await self._backend.stat(self._key) is not None:
            return Written(False, tries)
        raise BackendUnavailable(
            f"{self._wire.url}: the upload of {self._key!r} ended before it was complete; save it again",
            store=self._wire.url,
            landed=tries > 1,
        )

    async def _flush(self) -> None:
        chunk = bytes(self._buffer)
        self._buffer.clear()
        if self._ended:
            return
        self._ended = True  # whatever comes now: without this chunk there is nothing to commit
        if not self._session and not await self._begin():
            return
        try:
            answer, _ = await self._push(chunk, last=False)
        except GaveUp as gave_up:
            raise self._wire.explained(gave_up, f"upload {self._key!r}", False) from gave_up.last
        if answer.status == GO_ON:
            self._offset += len(chunk)
            self._ended = False

    async def _begin(self) -> bool:
        """Open the session; False where the key is taken already."""
        answer, _ = await self._wire.request(
            f"begin the upload of {self._key!r}",
            "POST",
            self._wire.objects(kind="/upload"),
            params={"uploadType": "resumable", "name": self._name, "ifGenerationMatch": "0"},
            headers={"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Type": self._content_type},
            body=self._wire.resource(self._name, self._content_type),
            good=FINISHED | {LOST},
        )
        if answer.status == LOST:
            return False
        self._session = answer.headers.get("Location", "")
        self._can_ask = "X-GUploader-UploadID" in answer.headers
        if not self._session:
            raise BackendError(f"{self._wire.url}: an upload was begun without an address; check endpoint_url")
        return True

    async def _push(self, chunk: bytes, *, last: bool) -> tuple[Answer, int]:
        """Send *chunk* until the session has all of it, or has ended; the last answer, and the number of tries.

        Raises:
            GaveUp: the tries or the deadline are used up, or it is not known how far the session got.
        """
        start, end = self._offset, self._offset + len(chunk)
        total = str(end) if last else "*"
        good = FINISHED | GONE | {GO_ON, LOST}

        async def send(at: int) -> Answer:
            span = f"{at}-{end - 1}" if at < end else "*"
            headers = {"Content-Range": f"bytes {span}/{total}", "Content-Type": self._content_type}
            return check(await self._wire.exchange("PUT", self._session, None, headers, chunk[at - start :]), good)

        async def attempt(number: int) -> Answer:
            at = start
            if self._can_ask and (number > 1 or self._unsure):
                answer = await send(end)
                if answer.status != GO_ON:
                    return answer
                at = self._taken(answer)
            while last or at < end:
                answer = await send(at)
                if answer.status != GO_ON:
                    return answer
                if self._taken(answer) <= at:
                    raise Refused(503, b"the session took nothing")
                at = self._taken(answer)
            return answer

        def again(error: BaseException) -> bool:
            return transient(error) and (self._can_ask or unsent(error))

        return await retrying(attempt, tries=self._wire.tries, deadline=self._wire.deadline, transient=again)

    def _taken(self, answer: Answer) -> int:
        """How many bytes the session has, by its answer ``Range: bytes=0-n``; no header where it has none."""
        with self._wire.understood():
            taken = int(answer.headers.get("Range", "bytes=0--1").partition("-")[2]) + 1
        if taken < self._offset:
            raise BackendError(
                f"{self._wire.url}: the service lost a part of the upload of {self._key!r}; save it again"
            )
        return taken
