"""A program in a real terminal: what it writes there is waited for, and keys are pressed."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("artifactfs")

# The terminal becomes the one that controls the program, so that Ctrl-C reaches it as it does a person's.
_IN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program whose standard error is a terminal, and its input and output too unless others are given."""

    def __init__(self, arguments: Sequence[str], **streams: Any) -> None:
        self._ours, theirs = os.openpty()
        self.text = ""
        streams = {"stdin": theirs, "stdout": theirs, **streams}
        command = [sys.executable, "-c", _IN_TERMINAL, str(PROGRAM), *arguments]
        environment = {"TERM": "xterm-256color", "COLUMNS": "100", **os.environ, **streams.pop("env", {})}
        self.process = subprocess.Popen(command, stderr=theirs, env=environment, **streams)
        os.close(theirs)

    def wait_for(self, pattern: str) -> None:
        """Go on when the program has written that."""
        until = time.monotonic() + 60
        while not re.search(pattern, self.text):
            assert self._read(until - time.monotonic()), f"{pattern!r} never came: {self.text!r}"

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """The exit code, when the program has ended."""
        until = time.monotonic() + 60
        while self._read(until - time.monotonic()):
            pass
        return self.process.wait(60)

    def _read(self, patience: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(patience, 0))
        try:
            data = os.read(self._ours, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        os.close(self._ours)
