"""What one call of the command line was told: which store, which scope, how to print; and the options that say so."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from artifactfs.errors import BackendUnavailable, InvalidConfig, InvalidRef

if TYPE_CHECKING:
    from artifactfs.config import StoreConfig
    from artifactfs.refs import Ref
    from artifactfs.store import ArtifactStore, Scope

SCOPE = "ARTIFACTFS_SCOPE"
"""The variable that says what references are relative to, where no option does."""

F = TypeVar("F", bound=Callable[..., Any])


class Invocation:
    """What was told before and behind the command's name: the later word counts.

    Attributes:
        meant: how to write the name that was perhaps meant where a reference was read as one with a tag.
    """

    def __init__(self) -> None:
        self.store_name: str | None = None
        self.scope: str | None = None
        self.json = False
        self.debug = False
        self.meant = ""
        self._chained: str | None = None

    # references

    def ref(self, text: str = "") -> Ref:
        """What *text* refers to: in full (``artifact://…``), or below the scope where one is set.

        A chained root (``…::s3://bucket/prefix``) names the store.

        Raises:
            InvalidRef, InvalidName: it says nothing.
        """
        from artifactfs.refs import SCHEME, Ref

        place, chained, root = text.partition("::")
        if chained:
            self._chain(root, text)
        if not place.startswith(SCHEME) and (scope := self._scope_path()):
            place = f"{scope}/{place.strip('/')}"
        ref = Ref.parse(place)
        self.meant = ref.meant or self.meant
        return ref

    def _scope_path(self) -> str:
        """The path of the scope that references are relative to; empty where there is none."""
        from artifactfs.refs import Ref

        text = self.scope if self.scope is not None else os.environ.get(SCOPE, "")
        if not text:
            return ""
        ref = Ref.parse(text)
        if ref.name is not None or ref.view or not (ref.session or ref.user_scope):
            what = "--scope" if self.scope is not None else SCOPE
            raise InvalidRef(f"{what} is app/user/session, or app/user/user for what sessions share, not {text!r:.200}")
        return ref.path

    def _chain(self, root: str, text: str) -> None:
        told = self._chained or self.store_name
        if not root or (told is not None and told != root):
            raise InvalidRef(
                f"{text!r:.200} names the store {root!r:.100}, and another one is named as well: {told!r:.100}"
            )
        self._chained = root

    def artifact(self, text: str) -> Ref:
        """As `ref`, of an artifact.

        Raises:
            InvalidRef: it names none.
        """
        ref = self.ref(text)
        if ref.name is None:
            raise InvalidRef(
                f"{ref} names no artifact: write app/user/session/name, or a name and --scope app/user/session"
            )
        return ref

    def without_version(self, text: str, command: str) -> Ref:
        """As `artifact`, for a command that is about all of an artifact or its newest version."""
        ref = self.artifact(text)
        if ref.selector is not None:
            raise InvalidRef(
                f"{command} takes no version: leave {text!r:.200} without its selector, or write %40 for the '@' of a name"
            )
        return ref

    # the store

    def open(self, *, writes: bool = False) -> ArtifactStore:
        """The store, which is only read unless the command *writes*.

        Raises:
            InvalidConfig: none is named, or not one that can be opened.
            BackendUnavailable: it is a folder that is not there, and nothing is to be written.
        """
        return open_store(self._chained or self.store_name, writes=writes)

    def scope_of(self, ref: Ref, *, writes: bool = False) -> Scope:
        assert ref.app is not None and ref.user is not None
        return self.open(writes=writes).scope(ref.app, ref.user, ref.session)


def open_store(name: str | None, *, writes: bool = False) -> ArtifactStore:
    """The store of that *name*: a URL, a folder, or a YAML file; without it the one that is configured."""
    from artifactfs.store import ArtifactStore

    config = configured(name)
    if writes:
        return ArtifactStore(config.url, **config.options)
    store = ArtifactStore(config.url, **{**config.options, "read_only": True})
    path = os.path.expanduser(config.url.removeprefix("file://"))
    if "://" not in path and not os.path.isdir(path):
        raise BackendUnavailable(
            f"there is no folder {path}, so no store is in it (the first put makes one)", store=path
        )
    return store


def configured(name: str | None) -> StoreConfig:
    """The URL and the options of the store of that *name*; without it as ``from_config`` finds them."""
    from artifactfs.config import FILENAME, StoreConfig, load

    if name == "":
        raise InvalidConfig("--store is empty: give a URL, a folder or a YAML file")
    if name is not None:
        return load(name) if name.endswith((".yaml", ".yml")) and "://" not in name else StoreConfig(name)
    if not (os.environ.get("ARTIFACTFS_CONFIG") or os.environ.get("ARTIFACTFS_URL") or os.path.exists(FILENAME)):
        raise InvalidConfig(
            "no store is named: give --store a URL, a folder or a YAML file, or set ARTIFACTFS_URL, or put "
            f"{FILENAME} into this folder"
        )
    return load()


def usage(message: str) -> NoReturn:
    """End with a line on what was wrong with the command."""
    raise click.UsageError(message)


# options


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        assert option.name is not None
        setattr(context.ensure_object(Invocation), option.name, value)


def store_option(what: F) -> F:
    return click.option(
        "--store",
        "store_name",
        metavar="STORE",
        expose_value=False,
        callback=_keep,
        help="The store: a URL, a folder, or a YAML file that describes it. Else artifactfs.yaml or ARTIFACTFS_URL tells.",
    )(what)


def scope_option(what: F) -> F:
    return click.option(
        "--scope",
        metavar="APP/USER/SESSION",
        expose_value=False,
        callback=_keep,
        shell_complete=_complete_scope,
        help="What a REF without artifact:// is relative to. Else ARTIFACTFS_SCOPE tells.",
    )(what)


def json_option(what: F) -> F:
    return click.option(
        "--json", "json", is_flag=True, expose_value=False, callback=_keep, help="Print JSON (docs/cli.md)."
    )(what)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def command(name: str, *, scoped: bool = True) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of that *name*, whose function is given the `Invocation` first. *scoped*: it takes references."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        dressed = json_option(store_option(pass_invocation(function)))
        return click.command(name)(scope_option(dressed) if scoped else dressed)

    return decorate


class RefType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """An argument that is a reference; it is read once all options are known."""

    name = "ref"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from artifactfs.cli.completion import refs

        return refs(ctx.ensure_object(Invocation), incomplete)


REF = RefType()


def _complete_scope(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from artifactfs.cli.completion import scopes

    return scopes(ctx.ensure_object(Invocation), incomplete)
