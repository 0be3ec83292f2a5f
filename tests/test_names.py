"""Names and the path segments that they are stored as."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from artifactfs.errors import IntegrityError, InvalidName
from artifactfs.names import MAX_NAME, check, decode, encode, shared_prefix

ODD = "aAzZ09_-. ~!@$&'()+,;=^`{}%/\\:*?[]#\"<>|\x01\x1f\x7f\x80\x9fé¹日\u0301\u200d\ufeff\U0001f600"
PIECES = [
    "user",
    "con",
    "CON",
    "nul",
    "com1",
    "LPT9",
    "conin$",
    "aux",
    "..",
    "%2F",
    "%75ser",
    "@hidden",
    "!7",
    ".metadata",
]

names = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
    | st.text(ODD, min_size=1, max_size=12)
    | st.builds("".join, st.lists(st.sampled_from([*PIECES, *ODD]), min_size=1, max_size=6))
)
kinds = st.sampled_from(["app", "user", "session", "name"])

SPELLED = [
    ("report.csv", "report.csv"),
    ("reports/q1.csv", "reports%2Fq1.csv"),
    ("C:\\x", "C%3A%5Cx"),
    ("100%", "100%25"),
    ("a b", "a b"),
    (" a", " a"),
    ("a ", "a%20"),
    ("a. ", "a.%20"),
    ("a.", "a%2E"),
    ("a..", "a.%2E"),
    (".", "%2E"),
    ("..", "%2E%2E"),
    ("...", "%2E.%2E"),
    (" ", "%20"),
    (".env", "%2Eenv"),
    ("@latest", "%40latest"),
    ("logo@2.csv", "logo@2.csv"),
    ('a*?[x]#"<>|', "a%2A%3F%5Bx%5D%23%22%3C%3E%7C"),
    ("tab\there", "tab%09here"),
    ("\x7f\x80\x9f", "%7F%C2%80%C2%9F"),
    ("\xa0", "\xa0"),
    ("caf\u00e9", "caf\u00e9"),
    ("cafe\u0301", "cafe\u0301"),
    ("日本語.csv", "日本語.csv"),
    ("\U0001f600", "\U0001f600"),
    ("con", "%63on"),
    ("CON.txt", "%43ON.txt"),
    ("con .txt", "%63on .txt"),
    ("console", "console"),
    ("nul.tar.gz", "%6Eul.tar.gz"),
    ("com1", "%63om1"),
    ("COM\u00b9", "%43OM\u00b9"),
    ("com", "com"),
    ("com10", "com10"),
    ("lpt0.x", "%6Cpt0.x"),
    ("conin$", "%63onin$"),
    ("CONOUT$ ", "%43ONOUT$%20"),
    ("user", "user"),
    ("user:logo.png", "user%3Alogo.png"),
    ("!7", "!7"),
    ("7.metadata", "7.metadata"),
    ("~", "~"),
    ("a'b(c)&d+e=f,g;h$i{j}^k`l", "a'b(c)&d+e=f,g;h$i{j}^k`l"),
]


@pytest.mark.parametrize(("name", "segment"), SPELLED)
def test_each_name_has_this_spelling(name: str, segment: str) -> None:
    assert encode(name) == segment
    assert decode(segment) == name


def test_only_a_session_that_is_called_user_is_spelled_otherwise() -> None:
    assert encode("user", "session") == "%75ser"
    assert decode("%75ser", "session") == "user"
    for what in ("app", "user", "name"):
        assert encode("user", what) == "user"
    for near in ("User", "users", "user ", "%75ser"):
        assert encode(near, "session") == encode(near)
    with pytest.raises(IntegrityError, match="session"):
        decode("user", "session")


@given(names, kinds)
def test_decoding_a_segment_gives_its_name(name: str, what: str) -> None:
    assert decode(encode(name, what), what) == name


@given(names, names, kinds)
@example("a/b", "a%2Fb", "name")
@example("user", "%75ser", "session")
@example("con", "%63on", "name")
@example("caf\u00e9", "cafe\u0301", "name")
def test_two_names_never_share_a_segment(one: str, other: str, what: str) -> None:
    assume(one != other)
    assert encode(one, what) != encode(other, what)


@given(names, kinds)
@example("..", "name")
def test_a_segment_is_one_safe_part_of_a_path_on_every_system(name: str, what: str) -> None:
    segment = encode(name, what)
    assert not set(segment) & set('/\\:*?[]#"<>|')
    assert segment[0] not in ".@"
    assert segment[-1] not in ". "
    assert not any(unicodedata.category(char) == "Cc" for char in segment)
    stem = segment.partition(".")[0].rstrip(" ").upper()
    assert stem not in {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    assert not (stem[:3] in ("COM", "LPT") and len(stem) == 4 and stem[3] in "0123456789\u00b9\u00b2\u00b3")
    if what == "session":
        assert segment != "user"


@given(names)
def test_what_is_safe_stays_readable(name: str) -> None:
    kept = [char for char in name[1:-1] if char.isalnum() or char in "_- ."]
    left = iter(encode(name))
    assert all(char in left for char in kept)


@given(names, kinds, st.data())
def test_any_other_spelling_of_a_segment_is_an_error(name: str, what: str, data: st.DataObject) -> None:
    segment = encode(name, what)
    place = data.draw(st.integers(0, len(segment) - 1))
    escaped = "".join(f"%{byte:02X}" for byte in segment[place].encode())
    for other in (
        segment[:place] + escaped + segment[place + 1 :],
        segment[:place] + escaped.lower() + segment[place + 1 :],
        segment.replace("%2F", "%2f"),
    ):
        if other == segment:
            continue
        try:
            decoded = decode(other, what)
        except IntegrityError as error:
            assert "is not how any" in str(error)  # noqa: PT017
        else:
            assert decoded != name
            assert encode(decoded, what) == other


@pytest.mark.parametrize(
    "segment",
    [
        "",
        "a/b",
        ".env",
        "@hidden",
        "%",
        "%2",
        "%zz",
        "%2f",
        "%41",
        "%FF",
        "%C3",
        "%00",
        "%ED%A0%80",
        "a.",
        "a ",
        "con",
        "CON.x",
    ],
)
def test_what_no_name_is_spelled_like_is_an_error(segment: str) -> None:
    with pytest.raises(IntegrityError, match="is not how any name is spelled"):
        decode(segment)


@given(names, names)
@example("a", ".")
@example("a", ". .")
@example("co", "n")
@example("con", "sole")
@example("nu", "l")
@example(".", "a")
@example("a/", "b")
@example("LP", "T1")
@example("%", "2F")
def test_every_name_that_starts_with_a_prefix_has_a_segment_that_starts_with_its_shared_prefix(
    prefix: str, rest: str
) -> None:
    for name in (prefix, prefix + rest):
        if len(name.encode()) <= MAX_NAME:
            assert encode(name).startswith(shared_prefix(prefix))


@pytest.mark.parametrize("prefix", ["reports/", "q1.", "2026-11", "日本", "a b"])
def test_an_ordinary_prefix_narrows_a_listing(prefix: str) -> None:
    assert encode(prefix).startswith(shared_prefix(prefix))
    assert len(shared_prefix(prefix)) >= len(prefix) - 1


def test_a_prefix_may_be_as_long_as_a_name() -> None:
    assert shared_prefix("x" * MAX_NAME) == "x" * MAX_NAME


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("\ud800", "lone surrogate"),
        ("a\udfff", "lone surrogate"),
        ("x" * 1025, "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        (None, "must be a str, not NoneType"),
        (b"bytes", "must be a str, not bytes"),
        (7, "must be a str, not int"),
    ],
)
def test_only_what_no_store_could_hold_is_refused(name: object, why: str) -> None:
    with pytest.raises(InvalidName, match=why):
        check(name)
    with pytest.raises(ValueError, match="session"):
        check(name, "session")


@pytest.mark.parametrize("name", ["x" * 1024, "é" * 512, "\U0001f600" * 256, "/" * 1024])
def test_a_name_may_have_1024_bytes_of_utf8(name: str) -> None:
    assert decode(encode(name)) == name
