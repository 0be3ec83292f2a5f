"""What a pointer may say: URIs, schemes, digests and sizes."""

from __future__ import annotations

from typing import Any

import pytest

from artifactfs.errors import InvalidConfig, InvalidMetadata, InvalidRef
from artifactfs.pointers import MAX_URI, SCHEMES, check_digest, check_schemes, check_size, check_uri, shown

SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.com/paper.pdf",
        "HTTPS://Example.COM:8443/a%20b?version=3&x=%2F#page=2",
        "https://[2001:db8::1]:443/",
        "https://example.com",
        "s3://bucket/a/b//c@2!$&'()*+,;=~",
        "gs://bucket/key:with:colons",
        "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/a.txt",
        "https://example.com/" + "a" * (MAX_URI - 20),
    ],
)
def test_a_uri_is_kept_as_it_was_given(uri: str) -> None:
    assert check_uri(uri, SCHEMES) == uri


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_a_uri_is_stored_as_plain_text_whatever_kind_of_str_it_was() -> None:
    assert type(check_uri(Text("https://example.com/"), SCHEMES)) is str
    assert check_uri(Text("https://example.com/"), SCHEMES) == "https://example.com/"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (None, "not NoneType: give it as a str"),
        (b"https://example.com", "not bytes"),
        ("", "is empty: give where"),
        ("https://example.com/" + "a" * (MAX_URI - 19), "8193 characters, and at most 8192"),
        ("https://example.com/a b", "' ', which no URI holds there: percent-encode"),
        (" https://example.com/", "' ', which"),
        ("https://example.com/\n", r"'\\n', which"),
        ("https://example.com/a\r\nhttps://example.com/b", r"'\\r', which"),
        ("https://example.com/\x00", r"'\\x00', which"),
        ("https://example.com/\x7f", r"'\\x7f', which"),
        ("java\tscript:alert(1)", r"'\\t', which"),
        ("https://example.com/é", r"'\\xe9', which"),
        ("https://example.com/\ud800", r"'\\ud800', which"),
        ("https://good.example\\@evil.example/", r"'\\\\', which"),
        ("https://example.com/100%", "'%', which"),
        ("https://example.com/%zz", "'%', which"),
        ("s3://bucket/a|b", r"'\|', which"),
        ("paper.pdf", "has no scheme: say how"),
        ("//example.com/paper.pdf", "has no scheme"),
        ("1https://example.com/", "has no scheme"),
        (":", "has no scheme"),
        ("http://example.com/", "scheme 'http', and pointers of this store may have https, s3, gs or ipfs only"),
        ("file:///etc/passwd", "'file'.*name it in pointer_schemes="),
        ("FILE:///etc/passwd", "'file'"),
        ("javascript:alert(1)", "'javascript'"),
        ("data:text/plain,hello", "'data'"),
        ("artifact://shop/alice/s1/report.csv", "'artifact'"),
        ("simplecache::https://example.com/", "'simplecache'"),
        ("https:example.com", "names no host"),
        ("https:///paper.pdf", "names no host"),
        ("https://:443/paper.pdf", "names no host"),
        ("https://?query", "names no host"),
        ("s3://", "names no bucket: write s3://bucket/path"),
        ("gs:///key", "names no bucket"),
        ("ipfs:", "names nothing"),
        ("ipfs://", "names nothing"),
        ("https://example.com:port/", "no host, or its port is no number"),
        ("https://example.com:99999/", "its port is no number"),
        ("https://[::1/", "no host"),
        ("https://[nothing]/", "no host"),
        (f"https://user:{SECRET}@example.com/", "holds a user or a password"),
        (f"https://{SECRET}@example.com/", "holds a user or a password"),
        (f"s3://key:{SECRET}@bucket/key", "holds a user or a password"),
        (f"https://user:{SECRET}/x@example.com/", "its port is no number"),
        (f"ftp://user:{SECRET}@example.com/?token={SECRET}", "scheme 'ftp'"),
        (f"https://user:{SECRET}@example.com/a b", "percent-encode"),
        (f"https://example.com:port/?token={SECRET}", "no number"),
    ],
)
def test_what_is_no_uri_of_an_allowed_scheme_is_refused_and_no_secret_of_it_shown(uri: Any, why: str) -> None:
    with pytest.raises(InvalidRef, match=why) as refused:
        check_uri(uri, SCHEMES)
    assert SECRET not in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("scheme", "uri"),
    [
        ("file", "file:///etc/hostname"),
        ("javascript", "javascript:alert(1)"),
        ("data", "data:text/plain,hello"),
        ("http", "http://example.com/"),
    ],
)
def test_a_scheme_that_is_named_is_allowed_and_no_other_with_it(scheme: str, uri: str) -> None:
    assert check_uri(uri, check_schemes([scheme.upper()])) == uri
    with pytest.raises(InvalidRef, match=f"may have {scheme} only"):
        check_uri("https://example.com/", [scheme])


@pytest.mark.parametrize("uri", ["file://etc/passwd", "file:etc", "file:/etc", "file://localhost/etc"])
def test_a_file_is_named_from_the_root_on(uri: str) -> None:
    with pytest.raises(InvalidRef, match="write file:///path"):
        check_uri(uri, ["file"])


def test_schemes_come_in_lower_case_each_once() -> None:
    assert check_schemes(["HTTPS", "s3", "https", "svn+ssh"]) == ("https", "s3", "svn+ssh")
    assert check_schemes({"file"}) == ("file",)
    assert check_schemes(SCHEMES) == SCHEMES


@pytest.mark.parametrize(
    ("schemes", "why"),
    [
        ("https", "give a list of schemes"),
        (b"https", "give a list"),
        (None, "give a list"),
        (7, "give a list"),
        ([], "is empty"),
        (["*"], r"holds '\*', which is no scheme.*without wildcards"),
        (["https", "s*"], "holds 's\\*'"),
        (["https://"], "without '://'"),
        ([""], "holds ''"),
        (["3s"], "holds '3s'"),
        ([None], "holds None"),
        (["https\n"], "is no scheme"),
    ],
)
def test_schemes_are_named_one_by_one(schemes: Any, why: str) -> None:
    with pytest.raises(InvalidConfig, match=why):
        check_schemes(schemes)


def test_a_digest_comes_in_lower_case() -> None:
    assert check_digest("AB" * 32) == "ab" * 32
    assert check_digest(None) is None


@pytest.mark.parametrize("digest", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 32 + "\n", b"ab" * 32, 7, "é" * 64])
def test_what_is_no_digest_is_refused(digest: Any) -> None:
    with pytest.raises(InvalidMetadata, match="give 64 hex digits"):
        check_digest(digest)


def test_a_size_is_a_number_of_bytes() -> None:
    assert [check_size(size) for size in (0, 1, 2**40, None)] == [0, 1, 2**40, None]


@pytest.mark.parametrize("size", [-1, True, 1.0, "1", 2**63])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(InvalidMetadata, match="give the number of bytes"):
        check_size(size)


def test_a_uri_is_shown_without_what_may_be_secret_in_it() -> None:
    assert shown(f"https://user:{SECRET}@example.com/a/@b?token={SECRET}#{SECRET}") == "https://…@example.com/a/@b"
    assert shown("https://example.com/a?signature=1") == "https://example.com/a"
