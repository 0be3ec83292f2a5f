"""What a diagnosis says: checks, each with a state and what to do, and a verdict over all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["ok", "note", "warning", "failed", "skipped"]
"""ok: nothing to do. note: worth knowing. warning: works, and something will hurt. failed: does not work. skipped: could
not be looked at, because of what failed before or because the store has no such thing."""


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at.

    Attributes:
        name: the same in every release, such as ``permission s3:PutObject``.
        says: what was seen, in a sentence.
        do: what to do about it; empty where nothing is to be done.
        facts: what was measured, such as seconds.
    """

    name: str
    state: State
    says: str
    do: str = ""
    facts: dict[str, Any] = {}


class Diagnosis(msgspec.Struct, frozen=True):
    """What was found out about a store.

    Attributes:
        store: its URL, without credentials; empty where none is configured.
        at: when that was so, UTC.
        verdict: ``ok``; ``warning``, where something works and will hurt; ``failed``, where something does not work.
        summary: the verdict as a sentence that a person can act on.
        checks: what was looked at, in that order.
    """

    store: str
    at: datetime
    verdict: Literal["ok", "warning", "failed"]
    summary: str
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check:
        """The check of that name.

        Raises:
            KeyError: there is none.
        """
        for one in self.checks:
            if one.name == name:
                return one
        raise KeyError(name)


def concluded(store: str, at: datetime, checks: list[Check], purpose: str) -> Diagnosis:
    """The diagnosis that follows from *checks*; *purpose* is what the store was opened for."""
    for state in ("failed", "warning"):
        bad = [one for one in checks if one.state == state]
        if bad:
            first = bad[0].says.removeprefix(f"{store}: ").rstrip(".")
            more = f" (and {len(bad) - 1} more)" if bad[1:] else ""
            word = "does not work" if state == "failed" else f"can be used {purpose}, with a warning"
            summary = f"{store or 'the store'} {word}: {first}{more}." + (f" To do: {bad[0].do}." if bad[0].do else "")
            return Diagnosis(store, at, state, summary, tuple(checks))
    return Diagnosis(store, at, "ok", f"{store} can be used {purpose}.", tuple(checks))
