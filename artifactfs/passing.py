"""Whether an exception is passing: a file that is closed in a clean-up is not one that was written to its end."""

from __future__ import annotations

import sys


class Passing:
    """Tells whether an exception is on its way that was not when this was made.

    Libraries often just close what they write to while an exception unwinds them. One that was being handled already is
    none, as long as it is not raised again: then its traceback has become another. (A bare ``raise`` in the very function
    that handles it leaves no such trace before it has left that function.)
    """

    def __init__(self) -> None:
        self._outer = sys.exception()
        self._trace = None if self._outer is None else self._outer.__traceback__

    def now(self) -> bool:
        handled = sys.exception()
        return handled is not None and not (handled is self._outer and handled.__traceback__ is self._trace)

    def forget(self) -> None:
        """Hold no exception any longer, and with it whatever its frames hold."""
        self._outer = self._trace = None
