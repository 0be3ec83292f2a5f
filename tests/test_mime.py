"""MIME types: guessed alike on every machine, and never anything that could break an HTTP header."""

from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import sys
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifactfs import mime
from artifactfs.errors import ArtifactError, InvalidMetadata

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(32)


def zipped(*names: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return body.getvalue()


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("report.csv", "text/csv"),
        ("Report.CSV", "text/csv"),
        ("a/b.d/c.json", "application/json"),
        ("data.parquet", "application/vnd.apache.parquet"),
        ("data.feather", "application/vnd.apache.arrow.file"),
        ("data.arrow", "application/vnd.apache.arrow.file"),
        ("log.jsonl", "application/x-ndjson"),
        ("log.ndjson", "application/x-ndjson"),
        ("notes.md", "text/markdown"),
        ("conf.yaml", "application/yaml"),
        ("conf.YML", "application/yaml"),
        ("a.npy", "application/x-npy"),
        ("a.npz", "application/x-npz"),
        ("cube.zarr", "application/vnd.zarr"),
        ("nb.ipynb", "application/x-ipynb+json"),
        ("pic.webp", "image/webp"),
        ("pic.avif", "image/avif"),
        ("pic.jpg", "image/jpeg"),
        ("page.html", "text/html"),
        ("notes.txt", "text/plain"),
        ("script.js", "text/javascript"),
        ("book.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("data:text/html,x.csv", "text/csv"),
        ("отчёт.csv", "text/csv"),
    ],
)
def test_a_known_extension_decides(filename: str, expected: str) -> None:
    assert mime.guess(filename) == expected
    assert mime.guess(filename, PNG) == expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("x.csv.gz", "application/gzip"),
        ("x.tar.gz", "application/gzip"),
        ("x.tgz", "application/gzip"),
        ("x.svgz", "application/gzip"),
        ("x.csv.bz2", "application/x-bzip2"),
        ("x.json.xz", "application/x-xz"),
        ("x.json.zst", "application/zstd"),
        ("x.csv.zip", "application/zip"),
        ("x.csv.Z", "application/x-compress"),
    ],
)
def test_a_compressed_file_is_of_its_compressions_type(filename: str, expected: str) -> None:
    assert mime.guess(filename) == expected


@pytest.mark.parametrize("filename", ["", ".", "..", "/", "a/", "README", ".csv", "dir.csv/file", "x.", "x.unheardof"])
def test_a_name_that_says_nothing_is_an_octet_stream(filename: str) -> None:
    assert mime.guess(filename) == "application/octet-stream"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(32), "image/jpeg"),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(32), "image/webp"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(50), "image/avif"),
        (b"fLaC" + bytes(32), "audio/flac"),
        (b"%PDF-1.7\nonly text here", "application/pdf"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "application/gzip"),
        (zipped("a.txt"), "application/zip"),
        (b"SQLite format 3\0" + bytes(100), "application/vnd.sqlite3"),
        (b"PAR1\x15\x04\x15" + bytes(16), "application/vnd.apache.parquet"),
        (b"ARROW1\0\0\xff\xff\xff\xff", "application/vnd.apache.arrow.file"),
        (b"\x93NUMPY\x01\0v\0{'descr'", "application/x-npy"),
        (b"\x89HDF\r\n\x1a\n" + bytes(16), "application/x-hdf5"),
    ],
)
def test_first_bytes_decide_where_the_name_does_not(head: bytes, expected: str) -> None:
    assert mime.guess("upload", head) == expected
    assert mime.guess("upload.unheardof", head + bytes(3 * mime.HEAD_BYTES)) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"BMW builds cars",
        b"MZ is a text",
        b"ID3 is how music files are tagged",
        b"PAR1S in the spring",
        "From: Zoë\nTo: Jürgen\n".encode(),
        "BMW für alle ü".encode()[:-1],
        b"",
        b"\0",
        bytes(300),
        b"hello",
    ],
)
def test_a_text_is_not_taken_for_a_format_by_its_first_letters(head: bytes) -> None:
    assert mime.guess("upload", head) == "application/octet-stream"


def test_without_the_library_of_signatures_it_is_an_octet_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filetype", None)
    assert mime.guess("upload", PNG) == "application/octet-stream"
    assert mime.guess("upload.png", PNG) == "image/png"


def test_the_machines_own_table_has_no_say() -> None:
    program = (
        "import mimetypes; mimetypes.init(); mimetypes.add_type('text/x-local', '.csv')\n"
        "mimetypes.add_type('text/x-local', '.unheardof'); mimetypes.add_type('text/x-local', '.png')\n"
        "from artifactfs import mime; print(mime.guess('x.csv'), mime.guess('x.unheardof'), mime.guess('x.png'))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["text/csv", "application/octet-stream", "image/png"]


def test_a_name_alone_needs_no_library() -> None:
    program = "import sys; from artifactfs import mime; mime.guess('x.csv', b'x'); print('filetype' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


@given(st.text(st.characters(codec=None)), st.binary(max_size=200))
@example("\ud800.\udfff", b"")
@example("x.\u212a", b"")
@example("..." * 1000, b"\0\0\0\x18ftyp")
def test_guess_never_raises_and_always_gives_a_type_that_check_accepts(filename: str, head: bytes) -> None:
    guessed = mime.guess(filename, head)
    assert mime.check(guessed) == guessed


def test_every_type_of_the_table_is_one_that_check_accepts() -> None:
    for extension, mime_type in mime._table().items():
        assert extension == extension.lower()
        assert mime.check(mime_type) == mime_type


@pytest.mark.parametrize(
    "mime_type",
    [
        "text/csv",
        "TEXT/Plain",
        "text/plain; charset=utf-8",
        "text/plain;charset=utf-8 ; header=present",
        'multipart/form-data; boundary="a b \\" c"',
        "application/vnd.api+json",
        "x/" + "y" * 127,
        'text/plain; a="' + "\\" * 236 + '"',
    ],
)
def test_a_proper_type_is_kept_as_it_is(mime_type: str) -> None:
    assert mime.check(mime_type) == mime_type


@pytest.mark.parametrize(
    "mime_type",
    [
        "",
        "text",
        "text/",
        "/csv",
        "text/csv\n",
        "text/csv\r\nX-Evil: 1",
        "text/csv\0",
        " text/csv",
        "text/csv ",
        "text /csv",
        "text/c sv",
        "text/csv;",
        "text/csv; charset",
        "text/csv; charset=",
        'text/csv; a="open',
        'text/csv; a="line\nbreak"',
        'text/csv; a="tab\tinside"',
        "text/csv; a=ü",
        "téxt/csv",
        "text/*",
        ".text/csv",
        "x/" + "y" * 128,
        "text/plain; a=" + "b" * 250,
    ],
)
def test_what_could_not_stand_in_a_header_is_refused(mime_type: str) -> None:
    with pytest.raises(InvalidMetadata, match="MIME type") as caught:
        mime.check(mime_type)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, ArtifactError)
    assert str(caught.value).isprintable() and str(caught.value).isascii()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_type_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidMetadata, match="not bytes"):
        mime.check(b"text/csv")  # type: ignore[arg-type]


@given(st.text(st.characters(max_codepoint=300), max_size=60))
def test_whatever_check_accepts_is_printable_ascii_of_one_line(text: str) -> None:
    for candidate in (text, f"text/plain; a={text}", f'text/plain; a="{text}"'):
        try:
            accepted = mime.check(candidate)
        except InvalidMetadata:
            continue
        assert accepted.isascii() and accepted.isprintable() and len(accepted) <= 255
