"""Where a store's URL and options come from when a program does not give them: a YAML file, or the environment.

The file is one mapping, by itself or under the key ``artifact_store`` of a file that other programs use too::

    type: s3                                  # memory | filesystem | s3 | gcs
    bucket_name: ${BUCKET}                    # an error where BUCKET is not set
    prefix: ${STAGE:-dev}/artifacts           # "dev" where STAGE is not set or empty
    region: ${AWS_REGION, eu-central-1}       # "eu-central-1" where AWS_REGION is not set
    max_bytes: 100_000_000

``$${`` is a literal ``${``. What was substituted is not looked at again, and keys are never substituted. A setting that
is null or empty after substitution counts as not given; keys and secrets must not be empty, lest a store be plain by
mistake.

Of every type: ``read_only``, ``max_bytes``, ``single_writer``, ``tries``, ``deadline`` (seconds), ``mode``,
``pointer_schemes``, ``provider``, ``read_through`` (URLs and folders, or mappings of a ``url`` and what else
`ArtifactStore` takes); and to seal what is saved ``keys`` or ``keys_file``
(relative to the file's folder), ``active_key_id``, ``accept_plain``, ``scope_secret``.
filesystem: ``base_path`` (relative to the file's folder; ``~`` is the home folder), ``durability``.
s3: ``bucket_name``, ``prefix``, ``endpoint_url``, ``account_id`` (Cloudflare R2), ``region``, ``access_key_id`` with
``secret_access_key`` and perhaps ``session_token``, and ``options``, which s3fs gets as they are.
gcs: ``bucket_name``, ``prefix``, ``project``, ``endpoint_url``, and ``options``, which gcsfs gets as they are.

Under ``retention`` the file may say what ``prune`` of the command line keeps: ``rules``, as in `artifactfs.retention`; or
under ``data_retention`` what Solace Agent Mesh has there.

Under ``options``, an unquoted value that is one substitution and nothing else is read as YAML would read its text
(``use_ssl: ${USE_SSL:-true}`` is a bool); in quotes it stays text.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, UnsetType

from artifactfs.errors import InvalidConfig
from artifactfs.retention import SECTIONS, RetentionPolicy, read_policy

if TYPE_CHECKING:
    from yaml import SafeLoader
    from yaml.nodes import Node

FILENAME = "artifactfs.yaml"
"""The file that is looked for in the current folder."""

SECTION = "artifact_store"
"""The key under which a file may hold the mapping of a store, beside other programs' keys."""

_CREDENTIALS_IN_URL = re.compile(r"//[^/\s]*@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, repr=False)
class StoreConfig:
    """What to open a store with: ``ArtifactStore(config.url, **config.options)``; and what to keep there, if that is said.

    Its repr names the options but shows no value of them, since some are credentials.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict)
    retention: RetentionPolicy | None = None

    def __repr__(self) -> str:
        return f"StoreConfig(url={_CREDENTIALS_IN_URL.sub('//…@', self.url)!r}, options={sorted(self.options)})"


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> StoreConfig:
    """The store that *path* describes; without it, the first of these that is there.

    1. the file that ``ARTIFACTFS_CONFIG`` names,
    2. ``artifactfs.yaml`` in the current folder,
    3. the URL in ``ARTIFACTFS_URL``, without options.

    Args:
        path: a YAML file, see the module's text for its settings.
        environ: what variables are looked up in.

    Raises:
        InvalidConfig: none of them is there, or the file cannot be used; the message says where in the file, and what
            would be right. It never shows a credential, nor what a variable holds.
    """
    if path is not None:
        return _Document(os.fspath(path), environ).store()
    if named := environ.get("ARTIFACTFS_CONFIG"):
        return _Document(named, environ).store()
    if os.path.exists(FILENAME):
        return _Document(FILENAME, environ).store()
    if url := environ.get("ARTIFACTFS_URL"):
        return StoreConfig(url)
    raise InvalidConfig(
        f"no store is configured: give the path of a YAML file, or name one in ARTIFACTFS_CONFIG, or put {FILENAME} "
        "into the current folder, or set ARTIFACTFS_URL to a URL such as ./artifacts or s3://bucket/prefix"
    )


def load_policy(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> RetentionPolicy:
    """The retention policy in a YAML file: under ``retention`` or ``data_retention``, perhaps of ``artifact_store``, beside
    whatever else stands there; or all of the file.

    Raises:
        InvalidConfig: the file cannot be used; the message says where in it, and what would be right.
    """
    return _Document(os.fspath(path), environ).policy()


# ---- what the mapping of a store may hold


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    read_only: bool | UnsetType = UNSET
    max_bytes: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    single_writer: bool | UnsetType = UNSET
    tries: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    deadline: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    keys: str | UnsetType = UNSET
    keys_file: str | UnsetType = UNSET
    active_key_id: str | UnsetType = UNSET
    accept_plain: bool | UnsetType = UNSET
    scope_secret: str | UnsetType = UNSET
    mode: Literal["managed", "pointer_only"] | UnsetType = UNSET
    pointer_schemes: list[str] | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    read_through: list[str | dict[str, Any]] | UnsetType = UNSET
    retention: dict[str, Any] | UnsetType = UNSET
    data_retention: dict[str, Any] | UnsetType = UNSET

    def __repr__(self) -> str:
        return type(self).__name__

    def target(self, document: _Document) -> tuple[str, dict[str, Any]]:
        """URL and options of the store, without the settings that every type has."""
        raise NotImplementedError


class _Memory(_Settings, frozen=True, kw_only=True, tag="memory"):
    def target(self, document: _Document) -> tuple[str, dict[str, Any]]:
        return "memory://", {}


class _Filesystem(_Settings, frozen=True, kw_only=True, tag="filesystem"):
    base_path: str
    durability: Literal["fsync", "none"] | UnsetType = UNSET

    def target(self, document: _Document) -> tuple[str, dict[str, Any]]:
        if "://" in self.base_path:
            document.fail(".base_path", f"{document.shown('.base_path')} is a URL, and should be a folder")
        return document.beside(self.base_path), _given(durability=self.durability)


class _Bucket(_Settings, frozen=True, kw_only=True):
    bucket_name: str
    prefix: str = ""
    endpoint_url: str | UnsetType = UNSET
    options: dict[str, Any] = {}

    def url(self, scheme: str, document: _Document) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.bucket_name):
            document.fail(".bucket_name", f"{document.shown('.bucket_name')} is not the name of a bucket alone")
        prefix = self.prefix.strip("/")
        if "::" in prefix or (prefix and any(part in ("", ".", "..") for part in prefix.split("/"))):
            what = "should be names with one slash between them, without '.', '..' and '::'"
            document.fail(".prefix", f"{document.shown('.prefix')} {what}")
        if self.endpoint_url and not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s@?#]*)?", self.endpoint_url):
            what = "should be http:// or https://, a host, perhaps a port, and no credentials"
            document.fail(".endpoint_url", f"{document.shown('.endpoint_url')} {what}")
        return f"{scheme}://{self.bucket_name}/{prefix}".rstrip("/")

    def over(self, named: dict[str, Any], document: _Document) -> dict[str, Any]:
        """*named* and the pass-through options together; what is in both is an error, not a question of rank."""
        for name in self.options:
            if name in _FIELDS:
                document.fail(
                    f".options.{name}", "is a setting of a store itself: it stands beside 'options', not in it"
                )
            if name in named:
                document.fail(f".options.{name}", "is given already, by a setting beside 'options'")
        return {**self.options, **named}


class _S3(_Bucket, frozen=True, kw_only=True, tag="s3"):
    account_id: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    access_key_id: str | UnsetType = UNSET
    secret_access_key: str | UnsetType = UNSET
    session_token: str | UnsetType = UNSET

    def target(self, document: _Document) -> tuple[str, dict[str, Any]]:
        url = self.url("s3", document)
        # The account becomes part of a host name.
        if self.account_id and not re.fullmatch(r"[A-Za-z0-9-]+", self.account_id):
            document.fail(".account_id", f"{document.shown('.account_id')} should be letters and digits")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            missing = ".secret_access_key" if self.access_key_id else ".access_key_id"
            document.fail(missing, "is missing: access_key_id and secret_access_key go together")
        if self.session_token and not self.access_key_id:
            document.fail(".access_key_id", "is missing: a session_token needs the key that it was issued with")
        named = _given(endpoint_url=self.endpoint_url, account_id=self.account_id, token=self.session_token)
        options = self.over(named | _given(key=self.access_key_id, secret=self.secret_access_key), document)
        if self.region:
            extra = options.get("client_kwargs") or {}
            if not isinstance(extra, dict):
                document.fail(".options.client_kwargs", "should be a mapping")
            if "region_name" in extra:
                document.fail(".options.client_kwargs.region_name", "is given already, by a setting beside 'options'")
            options["client_kwargs"] = {**extra, "region_name": self.region}
        return url, options


class _Gcs(_Bucket, frozen=True, kw_only=True, tag="gcs"):
    project: str | UnsetType = UNSET

    def target(self, document: _Document) -> tuple[str, dict[str, Any]]:
        named = _given(project=self.project, endpoint_url=self.endpoint_url)
        return self.url("gs", document), self.over(named, document)


_KINDS: dict[str, type[_Settings]] = {"memory": _Memory, "filesystem": _Filesystem, "s3": _S3, "gcs": _Gcs}
_COMMON = tuple(name for name in _Settings.__struct_fields__ if name not in ("keys_file", *SECTIONS))
_FIELDS = frozenset(name for kind in _KINDS.values() for name in kind.__struct_fields__) | {"type"}
_CREDENTIALS = (
    "access_key_id",
    "secret_access_key",
    "session_token",
    "options",
    "keys",
    "scope_secret",
    "read_through",
)
_NEVER_EMPTY = {"keys", "keys_file", "active_key_id", "scope_secret"}
_SHOULD_BE = {
    "type": f"one of {', '.join(_KINDS)}",
    "read_only": "true or false",
    "single_writer": "true or false",
    "max_bytes": "a whole number of bytes, 1 or more",
    "tries": "a whole number, 1 or more",
    "deadline": "a number of seconds above 0",
    "durability": "fsync or none",
    "accept_plain": "true or false",
    "mode": "managed or pointer_only",
    "pointer_schemes": "a list of schemes",
    "read_through": "a list of URLs, folders, or mappings with a url",
    "options": "a mapping of option names to their values",
    "retention": "a mapping with rules",
    "data_retention": "a mapping such as {task_retention_days: 90}",
}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not UNSET}


# ---- from the file to the mapping

_TAG = "tag:yaml.org,2002:"
_SUBSTITUTION = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?::-(?P<filled>.*)|,\s*(?P<set>.*?)\s*)?", re.DOTALL)


class _Document:
    """One configuration file. A *place* is the path of a value below the mapping of the store, such as ``.prefix``."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self.file = file
        self._environ = environ
        self._root = "$"
        self._written: dict[str, str] = {}
        self._loader: SafeLoader

    def store(self) -> StoreConfig:
        try:
            settings = self._settings(self._mapping(self._compose()))
        except RecursionError:
            raise InvalidConfig(f"{self.file}: is nested too deeply, or an alias in it refers to itself") from None
        url, options = settings.target(self)
        common = _given(**{name: getattr(settings, name) for name in _COMMON})
        if settings.keys_file:
            if settings.keys:
                self.fail(".keys_file", "is given beside keys; leave one of them out")
            common["keys"] = Path(self.beside(settings.keys_file))
        if settings.read_through:
            common["read_through"] = [self._older(place, one) for place, one in enumerate(settings.read_through)]
        said = _given(**{name: getattr(settings, name) for name in SECTIONS})
        if len(said) > 1:
            self.fail(f".{SECTIONS[1]}", f"is given beside {SECTIONS[0]}; leave one of them out")
        policies = [read_policy(value, self.file, f"{self._root}.{name}") for name, value in said.items()]
        return StoreConfig(url, options | common, policies[0] if policies else None)

    def policy(self) -> RetentionPolicy:
        root = self._compose()
        if root is None:
            self.fail("", "is empty; should be a mapping with rules")
        try:
            place, node, there = "", root, self._pairs(root, "")
            if SECTION in there and not there.keys() & set(SECTIONS):
                place, node = f".{SECTION}", there[SECTION]
                there = self._pairs(node, place)
            named = [name for name in SECTIONS if name in there]
            if len(named) > 1:
                self.fail(f"{place}.{named[1]}", f"is given beside {named[0]}; leave one of them out")
            if named:
                place, node = f"{place}.{named[0]}", there[named[0]]
            elif place:
                self.fail(place, f"says nothing of {SECTIONS[0]}")
            return read_policy(self._value(node, place), self.file, f"${place}")
        except RecursionError:
            raise InvalidConfig(f"{self.file}: is nested too deeply, or an alias in it refers to itself") from None

    def _older(self, place: int, older: str | dict[str, Any]) -> str | dict[str, Any]:
        """A store that is read through, a folder as it stands from the file's own."""
        if isinstance(older, str):
            return older if "://" in older else self.beside(older)
        for name in _NEVER_EMPTY & older.keys():
            if not older[name]:
                self.fail(f".read_through[{place}].{name}", "is empty: give it, or leave the line out")
        if not isinstance(older.get("url"), str):
            self.fail(f".read_through[{place}]", "should have a url, as text")
        return {**older, "url": self._older(place, older["url"])}

    def beside(self, path: str) -> str:
        """*path*, relative to the file's folder."""
        folder = os.path.dirname(os.path.abspath(self.file))
        return os.path.abspath(os.path.join(folder, os.path.expanduser(path)))

    def error(self, place: str, message: str) -> InvalidConfig:
        return InvalidConfig(f"{self.file}: {self._root}{place}: {message}")

    def fail(self, place: str, message: str) -> NoReturn:
        # Never chained: the exceptions of parsers quote the file, credentials included.
        raise self.error(place, message) from None

    def shown(self, place: str) -> str:
        """The value at *place* as the file spells it, before substitution; of credentials, only that there is one."""
        if place.lstrip(".").startswith(_CREDENTIALS):
            return "the value (not shown)"
        written = self._written.get(place)
        return "the value" if written is None else repr(_CREDENTIALS_IN_URL.sub("//…@", written)[:80])

    def _text(self) -> str:
        try:
            raw = Path(self.file).read_bytes()
        except (OSError, ValueError) as error:
            raise InvalidConfig(f"{self.file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidConfig(f"{self.file}: is not UTF-8 text (byte {error.start})") from None

    def _compose(self) -> Node | None:
        """The tree of the file, with nothing in it turned into objects yet."""
        text = self._text()
        try:
            import yaml
        except ImportError as error:
            message = f'{self.file}: reading it needs PyYAML: pip install "artifactfs[config]"'
            raise InvalidConfig(message) from error
        try:
            self._loader = yaml.SafeLoader(text)
            return self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise InvalidConfig(f"{self.file}: {_problem(error)}") from None
        except yaml.YAMLError as error:
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            raise InvalidConfig(f"{self.file}: line {line}: is not YAML: a control character") from None

    def _mapping(self, root: Node | None) -> dict[str, Any]:
        """The mapping of the store: substituted, and without what is empty."""
        if root is None:
            self.fail("", "is empty; should be a mapping, such as 'type: memory'")
        node: Node = root
        outer = self._pairs(root, "")
        if SECTION in outer:
            for name in outer.keys() & _FIELDS:
                self.fail(f".{name}", f"stands beside {SECTION}, and should be under it")
            self._root, node = f"$.{SECTION}", outer[SECTION]
        values = {name: self._value(child, f".{name}") for name, child in self._pairs(node, "").items()}
        for name in _NEVER_EMPTY & values.keys():
            if not values[name]:
                self.fail(f".{name}", "is empty: whoever wrote this wanted protection; give it, or leave the line out")
        return {name: value for name, value in values.items() if value is not None and value != ""}

    def _pairs(self, node: Node, place: str) -> dict[str, Node]:
        """The children of a mapping by key, those of its merge keys (``<<``) below its own."""
        if node.tag != f"{_TAG}map":
            self.fail(place, f"is {_kind(node)}, and should be a mapping")
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key, child in node.value:
            if key.tag == f"{_TAG}merge":
                for source in reversed(child.value if child.tag == f"{_TAG}seq" else [child]):
                    merged |= self._pairs(source, f"{place}.<<")
            elif not isinstance(key.value, str):
                self.fail(place, f"line {key.start_mark.line + 1}: a key should be text")
            elif key.value in own:
                self.fail(f"{place}.{key.value}", f"line {key.start_mark.line + 1}: is there a second time")
            else:
                own[key.value] = child
        return merged | own

    def _value(self, node: Node, place: str) -> Any:
        from yaml.nodes import ScalarNode

        if node.tag == f"{_TAG}map":
            return {name: self._value(child, f"{place}.{name}") for name, child in self._pairs(node, place).items()}
        if node.tag == f"{_TAG}seq":
            return [self._value(child, f"{place}[{i}]") for i, child in enumerate(node.value)]
        if not isinstance(node, ScalarNode):
            self.fail(place, f"is {_kind(node)}, which cannot be used here")
        self._written[place] = node.value
        if node.tag != f"{_TAG}str":
            return self._scalar(node, place)
        text = self._substituted(node.value, place)
        whole = _SUBSTITUTION.fullmatch(node.value)
        if whole and whole[1] and not node.style and place.startswith(".options."):
            tag = self._loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            return self._scalar(ScalarNode(tag, text), place)
        return text

    def _scalar(self, node: Node, place: str) -> Any:
        import yaml

        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.fail(place, f"{self.shown(place)} cannot be read as {_kind(node)}")

    def _substituted(self, text: str, place: str) -> str:
        def replacement(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            variable = _VARIABLE.fullmatch(match[1] or "")
            if variable is None:
                self.fail(
                    place,
                    "a substitution is ${VAR}, ${VAR:-default} or ${VAR, default}, without braces inside; "
                    "for a literal ${ write $${",
                )
            value = self._environ.get(variable[1])
            if variable["filled"] is not None:
                return value or variable["filled"]
            if value is None:
                value = variable["set"]
            if value is None:
                self.fail(
                    place,
                    f"the environment variable {variable[1]} is not set; set it, or write ${{{variable[1]}:-default}}",
                )
            return value

        return _SUBSTITUTION.sub(replacement, text)

    def _settings(self, values: dict[str, Any]) -> _Settings:
        for name, value in values.items():
            if name in _FIELDS and isinstance(value, str) and _CONTROL.search(value):
                self.fail(f".{name}", "holds a line break or another control character")
        try:
            settings: _Settings = msgspec.convert(values, _Memory | _Filesystem | _S3 | _Gcs, strict=False)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), values) from None
        return settings

    def _explained(self, problem: str, values: dict[str, Any]) -> InvalidConfig:
        """What a message of msgspec means for the person who wrote the file."""
        if missing := re.match("Object missing required field `(.*)`", problem):
            needed = f"a store of type {values['type']} needs it" if "type" in values else f"it is {_SHOULD_BE['type']}"
            return self.error(f".{missing[1]}", f"is missing or empty; {needed}")
        if unknown := re.match("Object contains unknown field `(.*)`", problem, re.DOTALL):
            known = sorted({"type", *_KINDS[values["type"]].__struct_fields__})
            near = difflib.get_close_matches(unknown[1], known, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            message = (
                f"is no setting of type {values['type']}; {meant}{'There' if near else 'there'} are {', '.join(known)}"
            )
            return self.error(f".{unknown[1]}", message)
        name = problem.rpartition(" - at `$.")[2].rstrip("`")
        return self.error(f".{name}", f"{self.shown(f'.{name}')} should be {_should_be(name)}")


def _should_be(name: str) -> str:
    return _SHOULD_BE.get(name, "text (a number or date as text stands in quotes)")


def _kind(node: Node) -> str:
    # A tag of the file's own is not quoted: it may be a secret that began with "!" and was not put in quotes.
    if not node.tag.startswith(_TAG):
        return "a value with a tag of its own"
    tag = node.tag.removeprefix(_TAG)
    return {"map": "a mapping", "seq": "a list"}.get(tag, f"a value of the type '{tag}'")


def _problem(error: Any) -> str:
    """What is wrong with the YAML and where, without the pieces of the file that PyYAML quotes."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    problem = re.sub(r"'(?!<)[^']{3,}'|\"[^\"]{3,}\"", "…", problem)
    hint = " (indent with spaces, not with tabs)" if r"'\t'" in problem else ""
    return f"{where}is not YAML: {problem}{hint}"
