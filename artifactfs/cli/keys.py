"""``keys``: new ones, and rotation of what they wrap."""

from __future__ import annotations

import os

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import REF, Invocation, command, usage
from artifactfs.cli.output import dumps, note, say
from artifactfs.errors import InvalidRef


@click.group("keys")
def keys() -> None:
    """Make keys, and rotate what they wrap."""


@command("new", scoped=False)
@click.argument("key_id", metavar="ID", default="v1")
@click.option("-o", "--output", metavar="FILE", help="Append it to this file of keys, which only its owner can read.")
def new(invocation: Invocation, key_id: str, output: str | None) -> None:
    """Make a random key, and print it as ID:KEY.

    It is stored nowhere else: keep it secret, and keep a copy. ID is v1 unless another is given.
    """
    from artifactfs.keys.keyring import new_key

    key = new_key(key_id)
    if output is None:
        say(dumps({"id": key_id, "key": key}) if invocation.json else key)
        return
    _append(output, key_id, key)
    say(
        dumps({"id": key_id, "file": output})
        if invocation.json
        else f"key {key_id} is in {output} now: keep a copy of it"
    )


def _append(path: str, key_id: str, key: str) -> None:
    from artifactfs.keys.keyring import Keyring

    begin = ""
    if os.path.exists(path) and os.path.getsize(path):
        if key_id in Keyring.read_file(path).ids:
            usage(f"{path} has a key {key_id!r} already: give the new one another ID.")
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            begin = "" if file.read(1) == b"\n" else "\n"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
        file.write(f"{begin}{key}\n")


@command("rotate")
@click.argument("ref", type=REF, default="")
@click.option("--to", "to", metavar="ID", required=True, help="The id of the key that is to wrap all data keys.")
@click.option("--nobody-deletes", is_flag=True, help="Nobody deletes, compacts or rotates there meanwhile.")
def rotate(invocation: Invocation, ref: str, to: str, nobody_deletes: bool) -> None:
    """Wrap the data keys of a store or a session by another key.

    No payload is read or written. Give that key to every saver as its active key first. Where it was cut off, rotate
    again. Ends with 1 where something is left that other keys are needed for.
    """
    where = invocation.ref(ref)
    if where.name is not None or (where.app is not None and not (where.session or where.user_scope)):
        raise InvalidRef(f"{where} cannot be rotated by itself: write app/user/session, or nothing for the whole store")
    target = invocation.open(writes=True) if where.app is None else invocation.scope_of(where, writes=True)
    rotated = target.rotate(to=to, nobody_deletes=nobody_deletes)
    facts = {name: getattr(rotated, name) for name in rotated.__struct_fields__}
    if invocation.json:
        say(dumps({**facts, "complete": rotated.complete}))
    else:
        counts = {name: sum(value.values()) if isinstance(value, dict) else value for name, value in facts.items()}
        shown = {name: len(value) if isinstance(value, tuple) else value for name, value in counts.items()}
        say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items() if value))
    if not rotated.complete:
        reasons = {
            f"other keys are needed still: {', '.join(rotated.unavailable)}": rotated.unavailable,
            "records are not what was saved, or were saved without keys: verify names them": rotated.altered,
            "saves are in progress: rotate again later": rotated.in_progress,
            "a later release has to rotate what it has written": rotated.unsupported,
        }
        note("not complete: " + "; ".join(why for why, there in reasons.items() if there))
        click.get_current_context().exit(Exit.FAILED_CHECK)


keys.add_command(new)
keys.add_command(rotate)
