"""Whether an exception is passing: a file that is closed in a clean-up is not one that was written to its end."""

from __future__ import annotations

import sys


class Passing:
    """Tells whether an exception is being handled that was not when this was made: libraries often just close what they
    write to while an exception unwinds them.
    """

    def __init__(self) -> None:
        self._outer = sys.exception()

    def now(self) -> bool:
        handled = sys.exception()
        return handled is not None and handled is not self._outer

    def forget(self) -> None:
        """Hold no exception any longer, and with it whatever its frames hold."""
        self._outer = None
