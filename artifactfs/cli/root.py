"""The group that all commands are in. A command's module is imported when the command is run or asked about."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any, NoReturn

import click

from artifactfs.cli import version_text
from artifactfs.cli.exits import Exit, code_of, told
from artifactfs.cli.invocation import Invocation, json_option, pass_invocation, scope_option, store_option
from artifactfs.cli.output import one_line
from artifactfs.cli.signals import Ended
from artifactfs.cli.signals import came as sigterm

COMMANDS = {
    "ls": ("listing", "List what lies in a store, a scope or a folder."),
    "tree": ("listing", "Draw what lies below a place as a tree."),
    "put": ("saving", "Save a file as the next version of an artifact."),
    "get": ("fetching", "Write a version to a file, whole or not at all."),
    "cat": ("fetching", "Write the bytes of a version to standard output."),
    "stat": ("telling", "Tell what is known of a version."),
    "log": ("telling", "List all versions of an artifact, the newest first."),
    "diff": ("history", "Tell what differs between two versions."),
    "restore": ("history", "Make an old version the newest again, or bring back what was removed."),
    "undo": ("history", "Take a whole session back to how it was at a time."),
    "rm": ("removing", "Take an artifact out of view. Its history stays."),
    "delete": ("removing", "Delete a version, or a whole artifact, for good."),
    "tag": ("saving", "Let a word name a version; without TAG list the tags of an artifact."),
    "point": ("saving", "Save a pointer to what lies elsewhere."),
    "du": ("usage", "Tell how much is stored below a place."),
    "search": ("finding", "Find versions by name, type, time, size, metadata or tag."),
    "watch": ("watching", "Tell of every new version and every deletion, as they happen."),
    "verify": ("upkeep", "Read versions whole, and tell whether they are what was saved."),
    "gc": ("upkeep", "Collect what crashed savers and interrupted deletes have left behind."),
    "prune": ("upkeep", "Delete for good what a retention policy keeps no longer."),
    "compact": ("clearing", "Clear away what deleted versions have left behind."),
    "erase": ("clearing", "Erase every trace of a user, a session or an artifact."),
    "migrate": ("moving", "Copy a whole store to another one, as it is."),
    "import": ("moving", "Bring in what another system has stored."),
    "keys": ("keys", "Make keys, and rotate what they wrap."),
    "config": ("config", "Look at the configuration."),
    "doctor": ("doctor", "Tell whether the store can be used, and what would hurt."),
}
"""Of each command the module that it is in, and the first line of its help."""


class Root(click.Group):
    """Commands by name, without importing what is not run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"artifactfs.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command and end the process: an error is one line on standard error, and an exit code (`Exit`)."""
        if instruction := os.environ.get("_ARTIFACTFS_COMPLETE"):
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(self, {}, prog_name or "artifactfs", "_ARTIFACTFS_COMPLETE", instruction))
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # it was closed by whoever began the program
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a name that the terminal has no letters for is no failure
                stream.reconfigure(errors="backslashreplace")
        code = self._run(sys.argv[1:] if args is None else list(args), prog_name or "artifactfs", extra)
        try:
            sys.stdout.flush()
        except OSError:  # it has failed before, and would fail once more when the process ends
            _forget_output()
        sys.exit(code)

    def _run(self, args: list[str], name: str, extra: dict[str, Any]) -> int:
        invocation = Invocation()
        try:
            with self.make_context(name, args, obj=invocation, **extra) as context:
                if os.environ.get("NO_COLOR"):
                    context.color = False
                self.invoke(context)
                sys.stdout.flush()
            return Exit.OK
        except click.exceptions.Exit as error:
            return error.exit_code
        except (KeyboardInterrupt, click.Abort, Ended):
            return self._ended()
        except BrokenPipeError:
            return Exit.BROKEN_PIPE
        except click.exceptions.NoArgsIsHelpError as error:  # the message is the whole help
            click.echo(error.format_message(), err=True)
            return Exit.USAGE
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else name
            return self._fail(f"{error.format_message().rstrip('.')}; help has: {where} --help", Exit.USAGE)
        except click.FileError as error:
            return self._fail(error.format_message(), Exit.LOCAL)
        except click.ClickException as error:
            return self._fail(error.format_message(), error.exit_code)
        except Exception as error:  # noqa: BLE001  (nothing reaches a user as a traceback)
            if invocation.debug:
                import traceback

                traceback.print_exc()
            code = code_of(error)
            hint = f"; {invocation.meant}" if code is Exit.NOT_FOUND and invocation.meant else ""
            return self._fail(told(error) + hint, code)

    def _ended(self) -> int:
        if sigterm.is_set():
            return self._fail("terminated", Exit.TERMINATED)
        return self._fail("interrupted", Exit.INTERRUPTED)

    def _fail(self, message: str, code: int) -> int:
        click.echo(f"artifactfs: {one_line(message)}", err=True)
        return code


def _forget_output() -> None:
    """Let go of what is still held for standard output."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _show_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(version_text())
        context.exit()


@click.group(cls=Root)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print the version."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@store_option
@scope_option
@json_option
@pass_invocation
def root(invocation: Invocation, debug: bool) -> None:
    """Versioned artifacts over any filesystem: memory, local disk, S3, Google Cloud Storage.

    A REF is app/user/session/name, with @3, @latest, @-1, @tag or @2026-11-20T19:03:17Z behind it for one version.
    """
    invocation.debug = debug
