"""Processes of the watch tests: savers, and a watcher that is killed.

python -m tests.watch_workers save URL OPTIONS WHO COUNT
python -m tests.watch_workers watch URL OPTIONS SINCE
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from artifactfs import ArtifactStore, Scope

NAMES = ["report.csv", "notes/one.txt", "user:logo.png", "data"]


def opened(url: str, options: str) -> Scope:
    return ArtifactStore(url, **json.loads(options)).scope("shop", "alice", "s1")


def tell(*what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def save(url: str, options: str, who: str, count: str) -> None:
    """Save so many versions, by streams now and then, and delete some; tell each that was acknowledged."""
    scope = opened(url, options)
    dice = random.Random(int(who))
    for turn in range(int(count)):
        name = dice.choice(NAMES[:2] + NAMES[3:])
        data = f"{who} {turn}".encode()
        if dice.random() < 0.05:
            data += bytes(9 * 1024 * 1024)
            record = scope.save(name, (data[at : at + 2**20] for at in range(0, len(data), 2**20)))
        else:
            record = scope.save(name, data)
        tell("published", name, record.version)
        if dice.random() < 0.1:
            scope.delete(name, record.version)
            tell("deleted", name, record.version)


def watch(url: str, options: str, since: str) -> None:
    """Tell each event with the token behind it, for ever."""
    events = opened(url, options).watch(since or None, every=0.1)
    with events:
        for event in events:
            tell(event.kind, event.name, event.version, events.token)


if __name__ == "__main__":
    {"save": save, "watch": watch}[sys.argv[1]](*sys.argv[2:])
