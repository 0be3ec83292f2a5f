"""``config``: what the configuration says, and whether a store can be opened with it."""

from __future__ import annotations

from typing import Any

import click

from artifactfs.cli.asking import Failed
from artifactfs.cli.exits import Exit, told
from artifactfs.cli.invocation import Invocation, command
from artifactfs.cli.output import dumps, plain, say
from artifactfs.errors import ArtifactError

_WORDS: dict[Any, str] = {True: "yes", False: "no"}


@click.group("config")
def config() -> None:
    """Look at the configuration."""


@command("check", scoped=False)
@click.argument("file", required=False)
def check(invocation: Invocation, file: str | None) -> None:
    """Tell whether the configuration describes a store that can be opened.

    Of FILE, else of what other commands use. Nothing is asked of the store itself (doctor does that), and no value of an
    option is shown. Ends with 1 where the configuration is wrong.
    """
    from artifactfs.cli.invocation import configured
    from artifactfs.config import load

    try:
        found = load(file) if file is not None else configured(invocation.store_name)
        from artifactfs.store import ArtifactStore

        store = ArtifactStore(found.url, **found.options)
        keys = store._core.custody.keys
        facts: dict[str, Any] = {
            "ok": True,
            "url": store.url,
            "options": sorted(found.options),
            "sealed": keys is not None,
            "keys": list(getattr(keys, "ids", ())),
            "users_hidden": store._core.custody.hides_users,
            "read_only": store._core.read_only,
        }
    except ArtifactError as error:
        facts = {"ok": False, "error": told(error)}
    if invocation.json:
        say(dumps(facts))
    elif facts["ok"]:
        for name, value in facts.items():
            text = ", ".join(value) if isinstance(value, list) else _WORDS.get(value, value)
            say(f"{name.replace('_', ' ') + ':':<14}{plain(str(text))}".rstrip())
    else:
        raise Failed(str(facts["error"]))
    if not facts["ok"]:
        click.get_current_context().exit(Exit.FAILED_CHECK)


config.add_command(check)
