"""What a pointer may say: its URI, the schemes that are allowed, and what is expected of the content. Pure, no I/O.

See docs/pointers.md. A URI is kept as it was given: no case is changed and nothing is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from artifactfs.errors import InvalidConfig, InvalidMetadata, InvalidRef

SCHEMES = ("https", "s3", "gs", "ipfs")
"""What a pointer's URI may begin with, unless ``pointer_schemes=`` says otherwise."""

MAX_URI = 8192
"""Bytes: the longest URI of a pointer."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# The characters of RFC 3986, section 2; a percent sign only before two hex digits.
_WRONG = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]|%(?![0-9A-Fa-f]{2})")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_HOST = {"http": "host", "https": "host", "s3": "bucket", "gs": "bucket"}


def check_uri(uri: str, schemes: Collection[str]) -> str:
    """*uri* itself, once it is certain that it is one of RFC 3986, of one of *schemes*, and holds no password.

    Records are not secret, and neither is a URI in one.

    >>> check_uri("https://example.com/paper.pdf", SCHEMES)
    'https://example.com/paper.pdf'

    Raises:
        InvalidRef: it is anything else; the message shows no user information and no query of it.
    """
    if not isinstance(uri, str):
        raise InvalidRef(
            f"a pointer's URI is text such as 'https://example.com/paper.pdf', not {type(uri).__name__}: give it as a str"
        )
    uri = str.__str__(uri)
    if not uri:
        raise InvalidRef(
            "a pointer's URI is empty: give where the content lies, such as 'https://example.com/paper.pdf'"
        )
    if len(uri) > MAX_URI:
        raise InvalidRef(
            f"the URI {shown(uri)[:80]!r}… has {len(uri)} characters, and at most {MAX_URI} can be kept: give a shorter one"
        )
    name = f"the URI {shown(uri)!a:.200}"
    wrong = _WRONG.search(uri)
    if wrong:
        raise InvalidRef(
            f"{name} holds {wrong[0]!a}, which no URI holds there: percent-encode it "
            "(a space is %20, a percent sign %25, an é %C3%A9)"
        )
    scheme = scheme_of(uri)
    if not scheme:
        raise InvalidRef(f"{name} has no scheme: say how it is reached, such as 'https://' before it")
    if scheme not in {allowed.lower() for allowed in schemes}:
        raise InvalidRef(
            f"{name} has the scheme {scheme!r}, and pointers of this store may have {_listed(schemes)} only: "
            "to allow it, name it in pointer_schemes="
        )
    _check_authority(uri, scheme, name)
    return uri


def _check_authority(uri: str, scheme: str, name: str) -> None:
    parts = _parted(uri)
    if parts is None:
        # Not shown: a password that was not encoded is one way to get here.
        raise InvalidRef(
            f"what follows '{scheme}://' in a URI is no host, or its port is no number: correct it, and percent-encode "
            "what belongs to neither"
        )
    if parts.password is not None or (scheme in {"http", "https"} and parts.username is not None):
        raise InvalidRef(
            f"{name} holds a user or a password, and whoever reads the record reads them: leave them out, and give them "
            "when the pointer is followed"
        )
    if scheme in _HOST and not parts.hostname:
        raise InvalidRef(f"{name} names no {_HOST[scheme]}: write {scheme}://{_HOST[scheme]}/path")
    if scheme == "file" and not uri[5:].startswith("///"):
        raise InvalidRef(f"{name} is no path of this machine: write file:///path from the root on")
    if not uri[len(scheme) + 1 :].strip("/"):
        raise InvalidRef(f"{name} names nothing behind its scheme: say what lies there")


def _parted(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # which is looked at no earlier
    except ValueError:
        return None
    return parts


def scheme_of(uri: str) -> str:
    """The scheme of *uri* in lower case, and ``""`` where it has none.

    >>> scheme_of("S3://bucket/key"), scheme_of("paper.pdf")
    ('s3', '')
    """
    scheme, colon, _ = uri.partition(":")
    return scheme.lower() if colon and _SCHEME.fullmatch(scheme) else ""


def shown(uri: str) -> str:
    """*uri* as messages show it: without user information, query and fragment, where secrets are.

    >>> shown("https://me:secret@example.com/paper.pdf?signature=secret")
    'https://…@example.com/paper.pdf'
    """
    return re.split(r"[?#]", re.sub(r"(?<=//)[^/]*@", "…@", uri, count=1), maxsplit=1)[0]


def _listed(schemes: Collection[str]) -> str:
    *most, last = schemes
    return f"{', '.join(most)} or {last}" if most else last


def check_schemes(schemes: Collection[str]) -> tuple[str, ...]:
    """*schemes* in lower case, each once: what ``pointer_schemes=`` allows. Each has to be named; there is no wildcard.

    >>> check_schemes(["HTTPS", "file"])
    ('https', 'file')

    Raises:
        InvalidConfig: no collection of schemes, an empty one, or one with something else in it.
    """
    if isinstance(schemes, (str, bytes)) or not isinstance(schemes, Collection):
        raise InvalidConfig(f"pointer_schemes is {schemes!r:.80}: give a list of schemes, such as ['https', 's3']")
    if not schemes:
        raise InvalidConfig("pointer_schemes is empty: leave it out, or name the schemes that pointers may have")
    for scheme in schemes:
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            raise InvalidConfig(
                f"pointer_schemes holds {scheme!r:.80}, which is no scheme: name each one by itself, such as 'https', "
                "without '://' and without wildcards"
            )
    return tuple(dict.fromkeys(scheme.lower() for scheme in schemes))


def check_digest(digest: str | None) -> str | None:
    """The SHA-256 that the content is expected to have, in lower case.

    Raises:
        InvalidMetadata: not 64 hex digits.
    """
    if digest is None:
        return None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidMetadata(
            f"expected_sha256 is {digest!r:.80}: give 64 hex digits, such as hashlib.sha256(content).hexdigest()"
        )
    return digest.lower()


def check_size(size: int | None) -> int | None:
    """The bytes that the content is expected to have.

    Raises:
        InvalidMetadata: no whole number, or a negative one.
    """
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise InvalidMetadata(f"size_bytes is {size!r:.80}: give the number of bytes, 0 or more, or leave it out")
    return int(size)
