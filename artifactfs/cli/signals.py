"""A request to end, as a service manager or a job's time limit sends it: what is under way is cleaned up first."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Ended(BaseException):
    """SIGTERM came. Like KeyboardInterrupt it is no `Exception`, so that nothing takes it for a failure."""


came = threading.Event()
"""Set when SIGTERM came: what calls the system for long may turn its `Ended` into a KeyboardInterrupt."""


def end_on_sigterm() -> None:
    """Let SIGTERM unwind as Ctrl-C does, so that temporary files go and uploads are aborted."""
    signal.signal(signal.SIGTERM, _ended)


def _ended(number: int, frame: FrameType | None) -> None:
    came.set()
    raise Ended
