"""Operations and answers of the simulator as a person reads them in a trace."""

from __future__ import annotations

import json
from typing import Any

from artifactfs.backends.base import Got, Page, Stat, Written
from artifactfs.protocol.ops import Delete, Discard, Get, List, ListUnfinished, StatOf
from artifactfs.testing.simulated_store import Opened, Sent


def short(key: str) -> str:
    return "/".join(key.split("/")[3:]) or key


def describe(sent: Sent) -> str:
    match sent:
        case Delete(keys):
            return f"Delete {', '.join(map(short, keys))}"
        case List(folder, after):
            return f"List {short(folder)}{' after ' + after if after else ''}{' (deep)' if sent.deep else ''}"
        case ListUnfinished(folder):
            return f"List uploads below {short(folder)}"
        case Discard(upload):
            return f"Discard the upload {upload.token} of {short(upload.key)}"
        case Opened(key, token):
            return f"Begin the upload {token} of {short(key)}"
        case Get() | StatOf():
            return f"{type(sent).__name__} {short(sent.key)}"
    return f"{type(sent).__name__} {short(sent.key)} = {_content(sent.data)}"  # type: ignore[union-attr]


def _content(data: bytes) -> str:
    try:
        record = json.loads(data)
        kind = record["kind"] if record["size_bytes"] is not None else f"{record['kind']} unfinished"
        return f"<{kind} {record['write_id'].rstrip('.')}>"
    except (ValueError, KeyError, TypeError):
        return repr(data) if len(data) < 40 else f"{data[:40]!r}…"


def brief(answer: Any) -> str:
    match answer:
        case Got(data):
            return _content(data)
        case Page(entries, folders, after):
            names = [f"{entry.name}({entry.size})" for entry in entries] + [name + "/" for name in folders]
            return f"{' '.join(names) or 'nothing'}{'' if after is None else ' …'}"
        case Written(done, tries):
            return f"{'done' if done else 'refused'}{'' if tries == 1 else f' (sent {tries} times)'}"
        case Stat(size):
            return f"{size} bytes"
    return repr(answer)
