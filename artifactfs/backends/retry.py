"""The one layer of retries: a request is sent again here and nowhere below, so that it is known how often it was sent.

The SDKs' own retries are switched off by the backends. A write that was sent twice may land twice, and "exists" may
then be its own doing; the protocol above decides that, and for it needs the count that an SDK would hide.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

T = TypeVar("T")

FIRST_PAUSE = 0.1
"""Seconds. The pause before try n + 1 is drawn evenly from 0 to this times 2**n ("full jitter"), and is capped."""

LONGEST_PAUSE = 8.0


class GaveUp(Exception):
    """A request that did not succeed.

    Attributes:
        failures: what each try ended with, oldest first: as many as the request was sent.
        last: the last of them.
        exhausted: True where the last one was transient too, so that it was the tries or the deadline that ended it.
    """

    def __init__(self, failures: tuple[BaseException, ...], exhausted: bool) -> None:
        super().__init__(f"gave up after {len(failures)} tries: {type(failures[-1]).__name__}")
        self.failures = failures
        self.exhausted = exhausted

    @property
    def last(self) -> BaseException:
        return self.failures[-1]


async def retrying(
    send: Callable[[int], Awaitable[T]],
    *,
    tries: int,
    deadline: float,
    transient: Callable[[BaseException], bool],
) -> tuple[T, int]:
    """Send a request until it is answered; the answer, and how often it was sent.

    An answer that is no failure (a precondition that was not met, an object that is not there) is to be returned by
    *send*, not raised: then the count comes with it.

    Args:
        send: sends the request; is given the number of the try, from 1.
        tries: how often it is sent at most.
        deadline: seconds; no try starts later than this after the first. A try under way is not cut short: how long one
            may hang is for the connection's own timeouts.
        transient: whether trying again after this exception may help.

    Raises:
        GaveUp: after an exception that is not transient, or the last try. Cancellation passes through as it is.
    """
    failures: list[BaseException] = []
    started = time.monotonic()
    try:
        return await send(1), 1
    except Exception as error:  # noqa: BLE001 - judged by the machinery below, which a first success need not pay for
        failures.append(error)
    replayed = False

    async def attempt() -> T:
        nonlocal replayed
        if not replayed:
            replayed = True
            raise failures[0]
        try:
            return await send(len(failures) + 1)
        except Exception as error:
            failures.append(error)
            raise

    again = AsyncRetrying(
        stop=stop_after_attempt(tries) | stop_before_delay(deadline - (time.monotonic() - started)),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        retry=retry_if_exception(lambda error: isinstance(error, Exception) and transient(error)),
        reraise=True,
    )
    try:
        answer: T = await again(attempt)
    except Exception as error:
        raise GaveUp(tuple(failures), exhausted=transient(error)) from error
    return answer, len(failures) + 1
