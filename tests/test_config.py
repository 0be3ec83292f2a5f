"""Configuration: one file or variable says what store is opened; every mistake is named at its place, no secret shown."""

from __future__ import annotations

import pickle
import pprint
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from artifactfs.config import StoreConfig, load
from artifactfs.errors import AccessDenied, ArtifactError, BackendUnavailable, InvalidConfig
from artifactfs.keys.keyring import new_key
from artifactfs.store import ArtifactStore

SECRET = "hunter2-hunter2"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    """Writes a configuration and gives its path; its folder is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> Path:
        path = tmp_path / "artifactfs.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# ---- which source is used


def test_sources_are_tried_in_their_order(write: Callable[[str], Path], tmp_path: Path) -> None:
    environ = {"ARTIFACTFS_URL": "s3://from-variable"}
    assert load(environ=environ) == StoreConfig("s3://from-variable", {})
    write("type: s3\nbucket_name: from-folder")
    assert load(environ=environ).url == "s3://from-folder"
    (tmp_path / "named.yaml").write_text("type: s3\nbucket_name: from-named")
    environ["ARTIFACTFS_CONFIG"] = str(tmp_path / "named.yaml")
    assert load(environ=environ).url == "s3://from-named"
    (tmp_path / "given.yaml").write_text("type: s3\nbucket_name: from-given")
    assert load(tmp_path / "given.yaml", environ).url == "s3://from-given"
    assert load("given.yaml", environ).url == "s3://from-given"


def test_the_process_environment_is_the_default(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARTIFACTFS_CONFIG", raising=False)
    monkeypatch.setenv("ARTIFACTFS_URL", "./artifacts")
    assert load() == StoreConfig("./artifacts")


@pytest.mark.parametrize("environ", [{}, {"ARTIFACTFS_URL": "", "ARTIFACTFS_CONFIG": ""}])
def test_without_any_source_the_error_names_all_of_them(write: Callable[[str], Path], environ: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig, match="no store is configured") as caught:
        load(environ=environ)
    for way in ("ARTIFACTFS_CONFIG", "artifactfs.yaml", "ARTIFACTFS_URL", "s3://"):
        assert way in str(caught.value)


@pytest.mark.parametrize("path", ["missing.yaml", ".", "", "nul\0.yaml"])
def test_a_file_that_cannot_be_read_is_an_error_and_no_other_source_is_used(
    write: Callable[[str], Path], path: str
) -> None:
    write("type: memory")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load(path, {"ARTIFACTFS_URL": "memory://"})
    if path:
        with pytest.raises(InvalidConfig, match="cannot be read"):
            load(environ={"ARTIFACTFS_CONFIG": path, "ARTIFACTFS_URL": "memory://"})


# ---- what a file says


@pytest.mark.parametrize(
    ("content", "url", "options"),
    [
        ("type: memory", "memory://", {}),
        ("{type: memory, tries: 3, deadline: 2}", "memory://", {"tries": 3, "deadline": 2.0}),
        ("\ufefftype: memory", "memory://", {}),
        ("type: memory\r\nread_only: yes\r\n", "memory://", {"read_only": True}),
        ("type: memory\nread_only: 'false'\nmax_bytes: '10'", "memory://", {"read_only": False, "max_bytes": 10}),
        (
            "type: memory\nmax_bytes: 1_000\nsingle_writer: true",
            "memory://",
            {"max_bytes": 1000, "single_writer": True},
        ),
        ("type: memory\nmax_bytes:\ntries: ''\ndeadline: ~", "memory://", {}),
        ("type: filesystem\nbase_path: /srv/a\ndurability: none", "/srv/a", {"durability": "none"}),
        ("type: filesystem\nbase_path: /srv/../srv/a/", "/srv/a", {}),
        ("type: s3\nbucket_name: b", "s3://b", {}),
        ("type: s3\nbucket_name: b\nprefix: /x/y/", "s3://b/x/y", {}),
        (
            "type: s3\nbucket_name: b\nendpoint_url: http://localhost:9000\nregion: eu-west-1\n"
            "access_key_id: AK\nsecret_access_key: SK\nsession_token: ST",
            "s3://b",
            {
                "endpoint_url": "http://localhost:9000",
                "client_kwargs": {"region_name": "eu-west-1"},
                "key": "AK",
                "secret": "SK",
                "token": "ST",
            },
        ),
        (
            "type: s3\nbucket_name: b\naccount_id: '0123abc'",
            "s3://b",
            {"account_id": "0123abc"},
        ),
        (
            "type: s3\nbucket_name: b\nregion: eu\noptions:\n  anon: true\n  client_kwargs: {verify: false}\n  n: [1, x]",
            "s3://b",
            {"anon": True, "client_kwargs": {"verify": False, "region_name": "eu"}, "n": [1, "x"]},
        ),
        (
            "type: gcs\nbucket_name: b.example\nproject: p\nendpoint_url: http://127.0.0.1:4443\noptions: {token: anon}",
            "gs://b.example",
            {"project": "p", "endpoint_url": "http://127.0.0.1:4443", "token": "anon"},
        ),
        ("type: gcs\nbucket_name: b\noptions:", "gs://b", {}),
        ("artifact_store:\n  type: s3\n  bucket_name: b\nlog:\n  level: !custom x", "s3://b", {}),
        (
            "base: &base {type: s3, bucket_name: a, tries: 2}\nartifact_store:\n  <<: *base\n  bucket_name: b",
            "s3://b",
            {"tries": 2},
        ),
    ],
)
def test_a_file_becomes_the_url_and_the_options_as_the_file_systems_name_them(
    write: Callable[[str], Path], content: str, url: str, options: dict[str, Any]
) -> None:
    assert load(write(content), {}) == StoreConfig(url, options)


def test_a_relative_folder_starts_at_the_file_and_not_at_the_current_folder(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("type: filesystem\nbase_path: ./data/../artifacts")
    monkeypatch.chdir("/")
    assert load(path, {}).url == str(tmp_path / "artifacts")


def test_a_tilde_is_the_home_folder(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load(write("type: filesystem\nbase_path: ~/artifacts"), {}).url == str(tmp_path / "home" / "artifacts")


def test_substituted_values_become_what_the_setting_wants(write: Callable[[str], Path]) -> None:
    content = "type: s3\nbucket_name: ${B}\nmax_bytes: ${N}\nread_only: ${R:-true}\ndeadline: ${D, 1.5}\nregion: ${X:-}"
    config = load(write(content), {"B": "123", "N": "456"})
    assert config == StoreConfig("s3://123", {"max_bytes": 456, "read_only": True, "deadline": 1.5})


def test_options_read_an_unquoted_substitution_as_yaml_does_and_a_quoted_one_as_text(
    write: Callable[[str], Path],
) -> None:
    content = """
type: s3
bucket_name: b
options:
  use_ssl: ${SSL}
  quoted: "${SSL}"
  count: ${N, 7}
  nothing: ${NULL:-null}
  partly: ${N, 7}0
  literal: $${N}
  list: ["${SSL}", true]
  looks_like_yaml: ${TRICK}
"""
    assert load(write(content), {"SSL": "false", "TRICK": "[1, 2]"}).options == {
        "use_ssl": False,
        "quoted": "false",
        "count": 7,
        "nothing": None,
        "partly": "70",
        "literal": "${N}",
        "list": ["false", True],
        "looks_like_yaml": "[1, 2]",
    }


# ---- substitution, as a property


def spelled(parts: list[tuple[str, ...]]) -> str:
    """What a person writes in the file for these parts."""
    templates = {
        "text": lambda text: text.replace("${", "$${"),
        "plain": lambda name: f"${{{name}}}",
        "filled": lambda name, default: f"${{{name}:-{default}}}",
        "set": lambda name, default: f"${{{name}, {default}}}",
    }
    return "".join(templates[kind](*rest) for kind, *rest in parts)


def meant(parts: list[tuple[str, ...]], environ: Mapping[str, str]) -> str:
    values = {
        "text": lambda text: text,
        "plain": lambda name: environ[name],
        "filled": lambda name, default: environ.get(name) or default,
        "set": lambda name, default: environ.get(name, default.strip()),
    }
    return "".join(values[kind](*rest) for kind, *rest in parts)


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufeff"))
texts = printable | st.text("${}:-, VAR")
# A text that ends in a dollar would make an escape of the substitution behind it; "$" alone has no other spelling.
literals = texts.map(lambda text: text.rstrip("$"))
defaults = texts.map(lambda text: re.sub(r"[{}]", "", text))
names = st.sampled_from(["SET", "EMPTY", "TRICKY"])
maybe_unset = st.sampled_from(["SET", "EMPTY", "TRICKY", "UNSET"])
parts = st.lists(
    st.tuples(st.just("text"), literals)
    | st.tuples(st.just("plain"), names)
    | st.tuples(st.just("filled"), maybe_unset, defaults)
    | st.tuples(st.just("set"), maybe_unset, defaults),
    max_size=5,
)
environs = st.fixed_dictionaries({"SET": printable.filter(bool), "EMPTY": st.just(""), "TRICKY": texts})


def through_a_file(path: Path) -> Callable[[str, Mapping[str, str]], str]:
    def expand(text: str, environ: Mapping[str, str]) -> str:
        document = {"type": "s3", "bucket_name": "b", "options": {"text": text}}
        path.write_text(yaml.safe_dump(document, default_style='"', allow_unicode=True, width=10**9), encoding="utf-8")
        expanded = load(path, environ).options["text"]
        assert isinstance(expanded, str)
        return expanded

    return expand


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts, environs)
@example([("plain", "TRICKY")], {"SET": "x", "EMPTY": "", "TRICKY": "${SET} $${ ${"})
@example([("text", "$${"), ("set", "UNSET", " a, b ")], {"SET": "x", "EMPTY": "", "TRICKY": ""})
@example([("filled", "EMPTY", ":-, "), ("set", "EMPTY", "d")], {"SET": "x", "EMPTY": "", "TRICKY": ""})
def test_every_part_means_what_it_says_and_nothing_is_substituted_twice(
    tmp_path: Path, parts: list[tuple[str, ...]], environ: dict[str, str]
) -> None:
    assert through_a_file(tmp_path / "c.yaml")(spelled(parts), environ) == meant(parts, environ)


def test_the_property_catches_a_substitution_that_is_done_until_nothing_is_left() -> None:
    def until_stable(text: str, environ: Mapping[str, str]) -> str:
        for _ in range(5):
            text = re.sub(r"(?<!\$)\$\{(\w+)\}", lambda match: environ.get(match[1], ""), text)
        return text.replace("$${", "${")

    parts: list[tuple[str, ...]] = [("plain", "TRICKY")]
    environ = {"SET": "x", "TRICKY": "${SET}"}
    assert until_stable(spelled(parts), environ) != meant(parts, environ)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text("type: memory\n-[]{}&*!|>'\"%@`,?#$<~0\t").map(str.encode))
def test_any_bytes_are_a_configuration_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    said = ""
    try:
        load(path, {})
    except InvalidConfig as error:
        said = str(error)
    assert not said or said.startswith(f"{path}: ")


# ---- errors


@pytest.mark.parametrize(
    ("content", "place", "says"),
    [
        ("", "$", "is empty"),
        ("# only a comment", "$", "is empty"),
        ("- type: memory", "$", "is a list"),
        ("memory", "$", "should be a mapping"),
        ("artifact_store: [1]", "$.artifact_store", "is a list"),
        ("artifact_store:", "$.artifact_store", "should be a mapping"),
        ("artifact_store: {type: memory}\nread_only: true", "$.read_only", "should be under it"),
        ("bucket_name: b", "$.type", "is missing or empty; it is one of memory, filesystem, s3, gcs"),
        ("type: azure", "$.type", "'azure' should be one of memory, filesystem, s3, gcs"),
        ("type: [s3]", "$.type", "should be one of"),
        ("type: s3", "$.bucket_name", "a store of type s3 needs it"),
        ("type: s3\nbucket_name: ''", "$.bucket_name", "is missing or empty"),
        ("artifact_store:\n  type: s3\n  bucket: b", "$.artifact_store.bucket", "did you mean 'bucket_name'?"),
        ("type: s3\nbucket_name: b\nendpoint: x", "$.endpoint", "did you mean 'endpoint_url'?"),
        (
            "type: memory\nbase_path: x",
            "$.base_path",
            "is no setting of type memory; there are accept_plain, active_key_id",
        ),
        ("type: filesystem\npath: x\nbase_path: y", "$.path", "did you mean 'base_path'?"),
        ("type: filesystem\nbase_path: s3://b", "$.base_path", "'s3://b' is a URL"),
        ("type: filesystem\nbase_path: 2024-01-01", "$.base_path", "'2024-01-01' should be text"),
        ("type: filesystem\nbase_path: 2024-13-01", "$.base_path", "cannot be read as a value of the type 'timestamp'"),
        ("type: filesystem\nbase_path: x\ndurability: sync", "$.durability", "'sync' should be fsync or none"),
        ("type: memory\nread_only: 2", "$.read_only", "'2' should be true or false"),
        ("type: memory\nsingle_writer: maybe", "$.single_writer", "'maybe' should be true or false"),
        ("type: memory\nmax_bytes: 10 MB", "$.max_bytes", "'10 MB' should be a whole number of bytes"),
        ("type: memory\nmax_bytes: 0", "$.max_bytes", "'0' should be a whole number of bytes, 1 or more"),
        ("type: memory\nmax_bytes: [1]", "$.max_bytes", "should be a whole number"),
        ("type: memory\ntries: 1.5", "$.tries", "'1.5' should be a whole number"),
        ("type: memory\ndeadline: -1", "$.deadline", "'-1' should be a number of seconds above 0"),
        ("type: memory\ndeadline: .nan", "$.deadline", "'.nan' should be a number of seconds above 0"),
        ("type: memory\ntries: ${N:-no}", "$.tries", "'${N:-no}' should be a whole number"),
        (
            "type: s3\nbucket_name: 12",
            "$.bucket_name",
            "'12' should be text (a number or date as text stands in quotes)",
        ),
        ("type: s3\nbucket_name: s3://b", "$.bucket_name", "'s3://b' is not the name of a bucket alone"),
        ("type: gcs\nbucket_name: b/x", "$.bucket_name", "'b/x' is not the name of a bucket alone"),
        ("type: s3\nbucket_name: b\nprefix: a//b", "$.prefix", "'a//b' should be names with one slash"),
        ("type: s3\nbucket_name: b\nprefix: ../b", "$.prefix", "'../b' should be names"),
        ("type: s3\nbucket_name: b\nprefix: a::b", "$.prefix", "'a::b' should be names"),
        ('type: s3\nbucket_name: b\nprefix: "a\\nb"', "$.prefix", "holds a line break"),
        ("type: s3\nbucket_name: b\nendpoint_url: localhost:9000", "$.endpoint_url", "should be http:// or https://"),
        ("type: s3\nbucket_name: b\noptions: [1]", "$.options", "should be a mapping of option names"),
        ("type: s3\nbucket_name: b\noptions: {tries: 1}", "$.options.tries", "it stands beside 'options'"),
        (
            "type: s3\nbucket_name: b\naccess_key_id: a\nsecret_access_key: b\noptions: {key: c}",
            "$.options.key",
            "is given already",
        ),
        ("type: gcs\nbucket_name: b\noptions: {project: q}", "$.options.project", "beside 'options'"),
        (
            "type: s3\nbucket_name: b\nregion: r\noptions: {client_kwargs: {region_name: q}}",
            "$.options.client_kwargs.region_name",
            "is given already",
        ),
        ("type: s3\nbucket_name: b\nregion: r\noptions: {client_kwargs: x}", "$.options.client_kwargs", "a mapping"),
        ("type: s3\nbucket_name: b\naccount_id: evil.example/", "$.account_id", "should be letters and digits"),
        ("type: s3\nbucket_name: b\naccess_key_id: a", "$.secret_access_key", "go together"),
        ("type: s3\nbucket_name: b\nsecret_access_key: a", "$.access_key_id", "go together"),
        ("type: s3\nbucket_name: b\nsession_token: a", "$.access_key_id", "issued with"),
        ("type: memory\ntype: s3", "$.type", "line 2: is there a second time"),
        ("type: gcs\nbucket_name: b\noptions:\n  a: 1\n  a: 2", "$.options.a", "line 5: is there a second time"),
        ("type: memory\n? [a]\n: b", "$", "line 2: a key should be text"),
        ("type: memory\n<<: 1", "$.<<", "should be a mapping"),
        ("type: memory\ntries: !custom 1", "$.tries", "a value with a tag of its own"),
        ("type: gcs\nbucket_name: b\noptions: {a: !!set {x}}", "$.options.a", "cannot be used here"),
        ("type: gcs\nbucket_name: b\noptions: {a: !!python/name:os.system x}", "$.options.a", "cannot be read as"),
        (
            "type: memory\ntries: ${N}",
            "$.tries",
            "the environment variable N is not set; set it, or write ${N:-default}",
        ),
        ("type: gcs\nbucket_name: b\noptions: {a: [x, '${N}']}", "$.options.a[1]", "environment variable N is not set"),
        ("type: memory\ntries: ${N", "$.tries", "a substitution is ${VAR}, ${VAR:-default} or ${VAR, default}"),
        ("type: memory\ntries: ${}", "$.tries", "a substitution is ${VAR}"),
        ("type: memory\ntries: ${1N}", "$.tries", "a substitution is ${VAR}"),
        ("type: memory\ntries: ${A-B}", "$.tries", "a substitution is ${VAR}"),
        ("type: memory\ntries: ${A:-${B}}", "$.tries", "without braces inside"),
    ],
)
def test_a_wrong_setting_is_named_by_its_place_with_what_would_be_right(
    write: Callable[[str], Path], content: str, place: str, says: str
) -> None:
    path = write(content)
    with pytest.raises(InvalidConfig) as caught:
        load(path, {})
    assert str(caught.value).startswith(f"{path}: {place}: ")
    assert says in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, ArtifactError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("type: s3\n\tbucket_name: b", "line 2, column 1: is not YAML"),
        ("type: s3\n\tbucket_name: b", "indent with spaces, not with tabs"),
        ("type: [s3", "line 1, column 10: is not YAML"),
        ("type: s3: b", "mapping values are not allowed here"),
        ("type: s3\n---\ntype: gcs", "single document"),
        ("type: memory\nx: \x07", "line 2: is not YAML: a control character"),
        (b"type: memory\nx: \xff", "is not UTF-8 text (byte 16)"),
        ("type: memory".encode("utf-16"), "is not UTF-8 text"),
        ("type: &a [*a]", "an alias in it refers to itself"),
        ("type: memory\n<<: &a {<<: *a}", "an alias in it refers to itself"),
        ("[" * 3000, "is nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_named_by_its_line(write: Callable[[str | bytes], Path], content: Any, says: str) -> None:
    path = write(content)
    with pytest.raises(InvalidConfig) as caught:
        load(path, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


def test_without_pyyaml_the_error_says_how_to_install_it(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("type: memory")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InvalidConfig, match=re.escape('pip install "artifactfs[config]"')):
        load(path, {})
    path.unlink()
    assert load(environ={"ARTIFACTFS_URL": "memory://"}).url == "memory://"


# ---- secrets

S3 = "type: s3\nbucket_name: b\naccess_key_id: a\n"


@pytest.mark.parametrize(
    "content",
    [
        f"{S3}secret_access_key: [{SECRET}]",
        f"{S3}secret_access_key: !{SECRET}",
        f"{S3}secret_access_key: !{SECRET} x",
        f"{S3}secret_access_key: *{SECRET}",
        f"{S3}secret_access_key: {{{SECRET}",
        f"{S3}secret_access_key: '{SECRET}",
        f'{S3}secret_access_key: "{SECRET}\\q"',
        f"{S3}secret_access_key: {SECRET}: x",
        f"{S3}secret_access_key: {SECRET}\n\tprefix: x",
        f"{S3}secret_access_key: {SECRET}\nunknown: {SECRET}",
        f"{S3}secret_access_key: {SECRET}\ntries: ${{TOKEN}}",
        f"{S3}secret_access_key: ${{TOKEN}}{SECRET}\n \n  x",
        f"{S3}secret_access_key: ${{{SECRET}:-x",
        f"{S3}secret_access_key: ${{A-B:-{SECRET}}}",
        f'{S3}secret_access_key: "{SECRET}\\n"',
        f"{S3}secret_access_key: {SECRET}\nsecret_access_key: {SECRET}",
        f"{S3}secret_access_key: {SECRET}\nbucket_name: ${{TOKEN}}",
        f"{S3}secret_access_key: {SECRET}\nregion: r\noptions: {{client_kwargs: {SECRET}}}",
        f"{S3}secret_access_key: {SECRET}\noptions: {{secret: {SECRET}}}",
        f"{S3}secret_access_key: {SECRET}\noptions: [{SECRET}]",
        f"{S3}secret_access_key: {SECRET}\nendpoint_url: http://user:{SECRET}@host",
        f"type: ${{TOKEN}}\nsecret_access_key: {SECRET}",
        f"type: s3\nbucket_name: ${{TOKEN}}/\nsecret_access_key: {SECRET}",
        f"type: s3\nbucket_name: b\nprefix: ${{TOKEN}}//x\nsecret_access_key: {SECRET}",
        f"{S3}secret_access_key: {SECRET}\nx: \x07",
    ],
)
def test_no_error_and_no_traceback_shows_a_secret(write: Callable[[str], Path], content: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(write(content), {"TOKEN": f"token-{SECRET}"})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(vars(caught.value))


def test_text_that_is_not_utf8_keeps_its_secrets_too(write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(write(f"secret_access_key: {SECRET}\n".encode() + b"\xff"), {})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    # The decoder's exception holds the whole file.
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize("number", ["8675309123", "2024-01-31", "0x1f2e3d4c"])
def test_a_secret_that_yaml_takes_for_a_number_is_not_shown(write: Callable[[str], Path], number: str) -> None:
    with pytest.raises(InvalidConfig, match=r"not shown\) should be text") as caught:
        load(write(f"{S3}secret_access_key: {number}"), {})
    assert number not in "".join(traceback.format_exception(caught.value))


def test_the_repr_shows_which_options_there_are_and_no_value(write: Callable[[str], Path]) -> None:
    config = load(write(f"{S3}secret_access_key: {SECRET}"), {})
    assert config.options["secret"] == SECRET
    assert repr(config) == "StoreConfig(url='s3://b', options=['key', 'secret'])"
    assert SECRET not in pprint.pformat(config)
    assert SECRET not in repr(StoreConfig(f"s3://user:{SECRET}@host/b"))


# ---- keys, pointers, older stores


def test_keys_and_secrets_of_a_file_protect_the_store_and_are_in_no_error(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    key = new_key("v1")
    (tmp_path / "keys").write_text(key)
    (tmp_path / "keys").chmod(0o600)
    environ = {"KEYS": key, "HIDE": SECRET * 2}
    common = "type: filesystem\nbase_path: store\nscope_secret: ${HIDE}\n"
    with _opened(load(write(f"{common}keys: ${{KEYS}}\nactive_key_id: v1"), environ)) as store:
        record = store.scope("shop", "alice", "s1").save("x", b"first")
        assert record.encryption and record.encryption.key_id == "v1"
    path = write(f"{common}keys_file: keys\naccept_plain: true")
    with _opened(load(path, environ)) as store:
        assert store.scope("shop", "alice", "s1").load("x").data == b"first"
        assert not (tmp_path / "store/shop/alice").exists()
    with pytest.raises(InvalidConfig, match=r"keys_file: is given beside keys") as caught:
        load(write(f"{common}keys_file: keys\nkeys: ${{KEYS}}"), environ)
    with pytest.raises(InvalidConfig, match=r"\$\.keys: ") as worse:
        load(write(f"{common}keys: [{key}]"), environ)
    assert not any(hidden in str(error.value) for error in (caught, worse) for hidden in (key[3:], SECRET))


@pytest.mark.parametrize("setting", ["keys", "keys_file", "active_key_id", "scope_secret"])
@pytest.mark.parametrize("empty", ["${MISSING:-}", "''", "null", "${EMPTY}"])
def test_a_key_or_a_secret_that_is_empty_opens_no_plain_store(
    write: Callable[[str], Path], setting: str, empty: str
) -> None:
    with pytest.raises(InvalidConfig, match=rf"\$\.{setting}: is empty"):
        load(write(f"type: memory\n{setting}: {empty}"), {"EMPTY": ""})


def test_pointers_and_older_stores_of_a_file_are_settings_of_the_store(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    with ArtifactStore(tmp_path / "old", provider="legacy", durability="none") as old:
        old.scope("shop", "alice", "s1").save("x", b"first")
    common = "type: filesystem\nbase_path: new\nmode: pointer_only\npointer_schemes: [https, file]\nprovider: new\n"
    with _opened(load(write(f"{common}read_through:\n  - {{url: old, provider: legacy}}"))) as store:
        assert store.scope("shop", "alice", "s1").load("x").data == b"first"
    with pytest.raises(InvalidConfig, match=r"\$\.read_through\[0\]: should have a url"):
        load(write(f"{common}read_through: [{{provider: legacy}}]"))
    with _opened(load(write(f"{common}read_through: [old]"))) as store:
        scope = store.scope("shop", "alice", "s1")
        with pytest.raises(BackendUnavailable, match="lies in the store 'legacy'"):
            scope.load("x")
        assert scope.point("here", "file:///etc/hostname").uri == "file:///etc/hostname"
        with pytest.raises(AccessDenied, match="pointer_only"):
            scope.save("x", b"second")
    with pytest.raises(InvalidConfig, match=r"\$\.mode: 'bytes_only' should be managed or pointer_only"):
        load(write("type: memory\nmode: bytes_only"))


def _opened(config: StoreConfig) -> ArtifactStore:
    return ArtifactStore(config.url, **config.options)
