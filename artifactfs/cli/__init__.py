"""The command line ``artifactfs`` (docs/cli.md). Importing this package imports no other library, and no store."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that the program's arguments name, and end the process with its exit code."""
    if sys.argv[1:] == ["--version"]:  # finding the version out and click take as long as each other
        print(version_text())
        return
    try:
        _run()
    except KeyboardInterrupt:  # before a command could see to it
        print("artifactfs: interrupted", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    try:
        import click  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("artifactfs: the command line needs click: pip install 'artifactfs[cli]'", file=sys.stderr)
        sys.exit(2)
    from artifactfs.cli.root import root
    from artifactfs.cli.signals import end_on_sigterm

    end_on_sigterm()
    try:
        root.main(prog_name="artifactfs")
    finally:
        if os.environ.get("_ARTIFACTFS_COMPLETE"):  # a store that does not answer must not keep the shell waiting
            sys.stdout.flush()
            os._exit(0)


def version_text() -> str:
    """The program and its version."""
    from artifactfs import __version__

    return f"artifactfs {__version__}"
