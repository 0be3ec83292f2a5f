"""What an `artifact://` URL says, and how a reference is spelled."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from artifactfs.errors import InvalidName, InvalidRef
from artifactfs.refs import Ref, Tag, components, spell, spell_name

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)

SCRAPS = [
    "@",
    "@3",
    "@-1",
    "@latest",
    "@prod",
    "@2026-11-20T12:00:00Z",
    "/",
    "//",
    "%",
    "%2F",
    "%61pps",
    ":",
    "::",
    ".",
]
SCRAPS += [
    "..",
    "*",
    "?",
    "[a]",
    "#",
    " ",
    "\t",
    "\n",
    "\u2028",
    "\u00a0",
    "\\",
    "user",
    "users",
    "apps",
    "artifact://",
]
SCRAPS += [
    "sessions",
    "artifacts",
    "versions",
    "user:",
    "é",
    "e\u0301",
    "日本",
    "🦆",
    "con",
    "~",
    "a",
    "7",
    "%%",
    "file:",
]
PARTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12),
    st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=5).map("".join),
)
NAMES = st.one_of(PARTS, st.lists(PARTS, min_size=1, max_size=4).map("/".join)).filter(
    lambda name: not name.startswith("user:")
)
TIMES = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    min_value=datetime(1900, 1, 1), timezones=st.just(timezone(timedelta(hours=5, minutes=30)))
)
SELECTORS = st.one_of(
    st.integers(-(10**19) + 1, 10**19 - 1),
    st.just("latest"),
    TIMES,
    st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True).filter(lambda tag: tag != "latest").map(Tag),
)


WORDS = st.sampled_from(["apps", "user", "users", "sessions", "artifacts", "versions", "@3", "artifact:"])
"""Apps, users and sessions that are called as a word of the grammar."""


@st.composite
def refs(draw: st.DrawFn) -> Ref:
    depth = draw(st.integers(0, 4))
    parts = [draw(PARTS | WORDS) for _ in range(min(depth, 2))]
    if depth < 3:
        return Ref(*parts)
    user_scope = draw(st.booleans())
    parts.append(None if user_scope else draw(PARTS | WORDS))
    name = draw(NAMES) if depth == 4 else None
    selector = draw(st.none() | SELECTORS) if name is not None or draw(st.booleans()) else None
    view = selector is not None and (name is None or draw(st.booleans()))
    return Ref(*parts, name, selector, view, user_scope)


@given(refs())
@example(Ref("apps", "a", "users", "u/sessions/s/artifacts/n/versions/3"))
@example(Ref("apps", "users", "users", None, NOON, True))
@example(Ref("artifact:", "artifact:", "artifact:", "artifact://", NOON + timedelta(microseconds=1)))
def test_what_is_printed_parses_to_the_same_reference(ref: Ref) -> None:
    assert Ref.parse(str(ref)) == ref
    assert Ref.parse(ref.path) == ref
    assert str(Ref.parse(str(ref))) == str(ref)


TEXTS = st.lists(st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=3).map("".join), max_size=7).map("/".join)
FORMS = st.sampled_from(
    ["{0}/{1}/{2}/{3}", "artifact://{0}/{1}/{2}/{3}", "apps/{0}/users/{1}/sessions/{2}/artifacts/{3}"]
)
TAILS = st.sampled_from(["", "@3", "@-1", "@latest", "@prod", "@2026-11-20t14:00:00.25+02:00", "/versions/3", "/", "@"])


@given(TEXTS | st.builds(lambda form, parts, tail: form.format(*parts) + tail, FORMS, st.tuples(*[TEXTS] * 4), TAILS))
def test_whatever_text_can_be_read_is_printed_as_text_that_says_the_same(text: str) -> None:
    """Also what no listing prints: other spellings, the agent kit's form. What cannot be read is refused by name."""
    try:
        ref = Ref.parse(text)
    except (InvalidRef, InvalidName):
        return
    assert Ref.parse(ref.path) == ref == Ref.parse(str(ref))
    assert Ref.parse(ref.path).path == ref.path


def test_the_references_that_properties_draw_are_of_every_kind() -> None:
    """The control: a property over fewer kinds would hold for less than it says."""
    kinds = {
        "a fraction of a second": lambda ref: isinstance(ref.selector, datetime) and ref.selector.microsecond > 0,
        "a time": lambda ref: isinstance(ref.selector, datetime) and not ref.view,
        "a session at a time": lambda ref: isinstance(ref.selector, datetime) and ref.view and ref.name is None,
        "a tag": lambda ref: isinstance(ref.selector, Tag),
        "the newest": lambda ref: ref.selector == "latest",
        "a number": lambda ref: isinstance(ref.selector, int) and not ref.view,
        "a number from the newest": lambda ref: isinstance(ref.selector, int) and ref.selector < 0,
        "a view of one artifact": lambda ref: ref.view and ref.name is not None,
        "the user scope": lambda ref: ref.user_scope and ref.name is None,
        "an artifact of the user scope": lambda ref: ref.user_scope and ref.name is not None,
        "a name with folders": lambda ref: ref.name is not None and len(components(ref.name)) > 1,
        "a name that ends as a selector": lambda ref: ref.name is not None and ref.name.endswith(("@3", "@latest")),
        "a name beyond ASCII": lambda ref: ref.name is not None and not ref.name.isascii(),
        "a session that is called user": lambda ref: ref.session == "user",
        "the root": lambda ref: ref.app is None,
    }
    drawn: list[Ref] = []

    @given(refs())
    @settings(max_examples=1000, phases=[Phase.generate])
    def draw(ref: Ref) -> None:
        drawn.append(ref)

    draw()
    assert [kind for kind, is_of_it in kinds.items() if not any(map(is_of_it, drawn))] == []


@given(refs())
def test_what_is_printed_survives_globbing_chaining_and_path_functions(ref: Ref) -> None:
    path = ref.path
    assert not set("*?[]#\\\0\n\t") & set(path)
    assert "::" not in path
    assert path == path.strip("/ :")
    assert not {"", ".", ".."} & set(path.split("/")) or path == ""


@given(NAMES)
def test_components_join_to_the_name_and_are_never_empty(name: str) -> None:
    assert "/".join(components(name)) == name
    assert all(components(name))


@given(st.lists(PARTS, min_size=2, max_size=4).map("/".join).filter(lambda name: not name.startswith("user:")))
def test_what_lies_in_a_folder_is_spelled_as_the_folder_and_then_itself(name: str) -> None:
    pieces = components(name)
    for place in range(1, len(pieces)):
        folder = "/".join(pieces[:place])
        assert spell_name(name) == f"{spell_name(folder)}/{'/'.join(map(spell, pieces[place:]))}"


def test_a_planted_spelling_that_leaves_selectors_alone_would_be_caught() -> None:
    """The control: a name printed as it is reads as something else."""
    said = Ref("a", "u", "s", "report@3")
    naive = f"artifact://{said.app}/{said.user}/{said.session}/{said.name}"
    assert Ref.parse(naive) != said == Ref.parse(str(said))


@pytest.mark.parametrize(
    ("text", "name", "selector", "view"),
    [
        ("artifact://shop/alice/s1/report.csv", "report.csv", None, False),
        ("artifact://shop/alice/s1/report.csv@3", "report.csv", 3, False),
        ("artifact://shop/alice/s1/report.csv@-1", "report.csv", -1, False),
        ("artifact://shop/alice/s1/report.csv@latest", "report.csv", "latest", False),
        ("artifact://shop/alice/s1/report.csv@prod", "report.csv", Tag("prod"), False),
        ("artifact://shop/alice/s1/report.csv@2026-11-20T12:00:00Z", "report.csv", NOON, False),
        ("artifact://shop/alice/s1/report.csv@2026-11-20t14:00:00.0+02:00", "report.csv", NOON, False),
        ("artifact://shop/alice/s1/@3/report.csv", "report.csv", 3, True),
        ("artifact://shop/alice/s1/@latest/reports/q1.csv", "reports/q1.csv", "latest", True),
        ("artifact://shop/alice/s1/@2026-11-20T12:00:00Z/report.csv", "report.csv", NOON, True),
        ("artifact://shop/alice/s1/@latest", None, "latest", True),
        ("artifact://shop/alice/s1/@3/", None, 3, True),
        ("shop/alice/s1/report.csv", "report.csv", None, False),
        ("/shop/alice/s1/", None, None, False),
        ("artifact://shop/alice/s1/reports/2026/q1.csv@0", "reports/2026/q1.csv", 0, False),
        ("artifact://shop/alice/s1/reports%2Fq1.csv", "reports/q1.csv", None, False),
    ],
)
def test_the_forms_of_a_reference(text: str, name: str | None, selector: object, view: bool) -> None:
    assert Ref.parse(text) == Ref("shop", "alice", "s1", name, selector, view)


ORDINARY = ["alice@example.com", "logo@2.csv", "a@3/b", "x/@3/b", "@", "a@", "@x.y", "a@LATEST", "a@2026-11-20", "a@B"]
ORDINARY += [
    "a@x_y",
    "a@-",
    "a@-x",
    "a@+3",
    "a@\u0663",
    "a@" + "x" * 64,
    "user",
    "100 € (neu).csv",
    "a b",
    "a:b",
    "c:d/e",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_no_selector_is_part_of_the_name(name: str) -> None:
    assert Ref.parse(f"artifact://shop/alice/s1/{name}") == Ref("shop", "alice", "s1", name)


def test_users_may_be_addresses_and_sessions_may_look_like_selectors() -> None:
    said = Ref.parse("artifact://shop/alice@example.com/@3/x")
    assert said == Ref("shop", "alice@example.com", "@3", "x")
    assert str(said) == "artifact://shop/alice@example.com/@3/x"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("report@3", "report%403"),
        ("a@3/b", "a%403/b"),
        ("@3/b", "%403/b"),
        ("a@b@3", "a@b%403"),
        ("a@007", "a%40007"),
        ("a@2026-13-99T00:00:00Z", "a%402026-13-99T00:00:00Z"),
        ("100%", "100%25"),
        ("a::b", "a%3A%3Ab"),
        ("a:", "a%3A"),
        ("user:", None),
        ("a*b?[c]", "a%2Ab%3F%5Bc%5D"),
        ("a/", "a%2F"),
        ("a//b", "a/%2Fb"),
        ("/a", "%2Fa"),
        ("../x", "%2E%2E/x"),
        (" a ", "%20a%20"),
        ("a b", "a b"),
        ("ä/日本.csv", "ä/日本.csv"),
        ("C#", "C%23"),
    ],
)
def test_only_what_would_be_misread_is_encoded(name: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(InvalidName):
            Ref("a", "u", "s", name)
    else:
        assert Ref("a", "u", "s", name).path == f"a/u/s/{path}"


def test_a_user_scope_is_written_user_and_a_session_of_that_name_is_escaped() -> None:
    assert Ref.parse("artifact://shop/alice/user/logo.png") == Ref("shop", "alice", name="logo.png", user_scope=True)
    assert Ref.parse("artifact://shop/alice/%75ser/logo.png") == Ref("shop", "alice", "user", "logo.png")
    assert Ref.parse("artifact://shop/alice/use%72/logo.png") == Ref("shop", "alice", "user", "logo.png")
    assert str(Ref("shop", "alice", "user")) == "artifact://shop/alice/%75ser"
    assert Ref.parse("artifact://shop/alice/user") == Ref("shop", "alice", user_scope=True)
    assert Ref.parse("artifact://shop/alice/user/@2/logo.png").selector == 2


def test_a_name_that_starts_with_user_and_colon_is_one_of_the_user_scope() -> None:
    scoped = Ref("shop", "alice", name="logo.png", selector=1, user_scope=True)
    assert Ref.parse("artifact://shop/alice/s1/user:logo.png@1") == scoped
    assert Ref.parse("artifact://shop/alice/user/user:logo.png@1") == scoped
    with pytest.raises(InvalidName, match="twice"):
        Ref.parse("artifact://shop/alice/s1/user:user:logo.png")


def test_folders_are_what_stops_before_a_name() -> None:
    assert Ref.parse("artifact://") == Ref() and str(Ref()) == "artifact://"
    assert Ref.parse("artifact://shop/") == Ref("shop")
    assert Ref.parse("shop/alice") == Ref("shop", "alice")
    assert Ref.parse("shop/alice/s1") == Ref("shop", "alice", "s1")


def test_the_agent_kits_own_form_is_read() -> None:
    form = "artifact://apps/shop/users/alice/sessions/s1/artifacts/report.csv/versions/3"
    assert Ref.parse(form) == Ref("shop", "alice", "s1", "report.csv", 3)
    scoped = "artifact://apps/shop/users/alice/artifacts/user:logo.png/versions/0"
    assert Ref.parse(scoped) == Ref("shop", "alice", name="logo.png", selector=0, user_scope=True)
    nested = "artifact://apps/shop/users/alice/sessions/user/artifacts/a/versions/1/b@2/versions/3"
    assert Ref.parse(nested) == Ref("shop", "alice", "user", "a/versions/1/b@2", 3)


@pytest.mark.parametrize("tail", ["", "/sessions/s1", "/sessions/s1/artifacts/x", "/artifacts/versions/3"])
@pytest.mark.parametrize("number", ["", "/versions/-1", "/versions/latest"])
def test_half_of_the_agent_kits_form_is_refused_with_the_way_out(tail: str, number: str) -> None:
    with pytest.raises(InvalidRef, match="%61pps"):
        Ref.parse(f"artifact://apps/shop/users/alice{tail}{number}")


def test_an_app_called_apps_is_not_taken_for_that_form() -> None:
    assert Ref.parse("artifact://apps/alice/s1/x") == Ref("apps", "alice", "s1", "x")
    assert Ref.parse("artifact://%61pps/alice/users/bob") == Ref("apps", "alice", "users", "bob")
    trap = Ref("apps", "a", "users", "u/sessions/s/artifacts/n/versions/3")
    assert Ref.parse(str(trap)) == trap


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a/u/s/@3/x@2", "twice"),
        ("a/u/s/@latest/x@prod", "twice"),
        ("a/u/s/reports/@3", "after no name"),
        ("a/u/s/@3/@4", "twice"),
        ("a/u/s/x@007", "plain number"),
        ("a/u/s/x@-0", "plain number"),
        ("a/u/s/x@" + "9" * 20, "plain number"),
        ("a/u/s/x@2026-13-01T00:00:00Z", "RFC 3339"),
        ("a/u/s/x@0001-01-01T00:00:00+10:00", "RFC 3339"),
        ("a/u/s/x@2026-11-20T19:03:60Z", "RFC 3339"),
        ("a/u/s//x", "%2F"),
        ("a/u/../x", "%2E"),
        ("a/u/s/./x", "%2E"),
        ("a/u/s/x::s3://b", "%3A%3A"),
        ("a/u/s/100%", "%25"),
        ("a/u/s/%zz", "%25"),
        ("a/u/s/%ff", "UTF-8"),
        ("s3://bucket/x", "component ''"),
    ],
)
def test_what_says_nothing_or_two_things_is_refused_and_the_way_out_is_told(text: str, match: str) -> None:
    with pytest.raises(InvalidRef, match=match):
        Ref.parse(text)


@pytest.mark.parametrize("text", ["a/u/s/%00", "a/u/s/\0", "a/u/s/\ud800", "a/u/s/" + "x" * 1025])
def test_what_no_store_can_hold_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidName):
        Ref.parse(text)


@pytest.mark.parametrize("text", [None, b"a/u/s/x", 3])
def test_only_text_is_a_reference(text: object) -> None:
    with pytest.raises(InvalidRef, match="must be a str"):
        Ref.parse(text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"user": "u"},
        {"app": "a", "session": "s"},
        {"app": "a", "user": "u", "name": "n"},
        {"app": "a", "user": "u", "session": "s", "user_scope": True},
        {"app": "a", "selector": 3, "view": True},
        {"app": "a", "user": "u", "session": "s", "selector": 3},
        {"app": "a", "user": "u", "session": "s", "name": "n", "view": True},
        {"app": "a", "user": "u", "session": "s", "name": "n", "selector": True},
        {"app": "a", "user": "u", "session": "s", "name": "n", "selector": "prod"},
        {"app": "a", "user": "u", "session": "s", "name": "n", "selector": datetime(2026, 11, 20)},
        {"app": "a", "user": "u", "session": "s", "name": "n", "selector": 10**19},
    ],
)
def test_what_cannot_be_spelled_cannot_be_made(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidRef):
        Ref(**arguments)


@pytest.mark.parametrize("word", ["latest", "Prod", "", "3", "a" * 64, "a_b"])
def test_a_tag_is_a_small_word(word: str) -> None:
    with pytest.raises(InvalidRef):
        Tag(word)


@pytest.mark.parametrize("form", ["artifact://a/u/s/x@prod", "artifact://a/u/s/@prod/x"])
def test_a_tag_is_a_version_and_it_is_told_how_the_name_is_written_that_was_perhaps_meant(form: str) -> None:
    ref = Ref.parse(form)
    assert ref.version == "prod"
    meant = ref.meant.rpartition(" write ")[2]
    assert Ref.parse(meant).name in {"x@prod", "@prod/x"} and "%40" in meant
    assert not Ref.parse("a/u/s/x@3").meant and not Ref.parse("a/u/s/@prod").meant


def test_a_version_is_what_a_store_takes() -> None:
    assert Ref.parse("a/u/s/x").version is None
    assert Ref.parse("a/u/s/x@-2").version == -2
    assert Ref.parse("a/u/s/x@2026-11-20T12:00:00.5Z").version == NOON + timedelta(seconds=0.5)


def test_references_are_values() -> None:
    said = Ref.parse("a/u/s/x@prod")
    assert pickle.loads(pickle.dumps(said)) == said and hash(said) == hash(Ref.parse("a/u/s/x@prod"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        said.app = "b"  # type: ignore[misc]
