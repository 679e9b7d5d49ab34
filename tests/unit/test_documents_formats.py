"""Reading files: what is understood of each format, and what is refused."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from docx import Document as Docx
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from interlock.sdk.formats import About, Parsed, Unreadable, read_file
from interlock.sdk.formats.files import MAX_FILE_BYTES
from interlock.sdk.formats.text import heading
from interlock_contracts.retrieval import Trust


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one(path: Path, encoding: str | None = None) -> Parsed:
    (parsed,) = read_file(path, encoding=encoding)
    assert isinstance(parsed, Parsed)
    return parsed


def a_pdf(text: str, password: str | None = None, title: str = "Returns, in print") -> bytes:
    """A page with one line of text in Helvetica."""
    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {NameObject(f"/{key}"): NameObject(f"/{value}")
         for key, value in {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}.items()}
    )  # fmt: skip
    fonts = DictionaryObject({NameObject("/F1"): font})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def a_docx() -> bytes:
    document = Docx()
    document.core_properties.title = "Return policy"
    document.add_heading("Returns", 1)
    document.add_paragraph("Thirty days.")
    document.add_paragraph("unopened", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Canada", "6 days"
    document.add_heading("Exceptions", 2)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def test_markdown_with_front_matter(tmp_path: Path) -> None:
    text = """---
title: Returning
url: https://acme.example/returns
scopes: [vip]
trust: untrusted
language: en
valid_from: 2026-01-31
valid_until: 2026-12-31T12:00:00+02:00
---
# A heading
Thirty days.
"""
    parsed = one(write(tmp_path, "a.md", text))
    assert parsed.text == "# A heading\nThirty days.\n"
    about = parsed.about
    assert (about.title, about.scopes, about.trust) == ("Returning", ("vip",), Trust.UNTRUSTED)
    assert about.valid_from is not None
    assert about.valid_from.isoformat() == "2026-01-31T00:00:00+00:00"
    assert about.valid_until is not None
    assert about.valid_until.isoformat() == "2026-12-31T12:00:00+02:00"


def test_markdown_without_a_title_takes_its_first_heading(tmp_path: Path) -> None:
    assert one(write(tmp_path, "a.md", "text\n\n## Second ##\n")).about.title == "Second"


@pytest.mark.parametrize(
    ("line", "level", "title"),
    [
        ("# One\n", 1, "One"),
        ("###\tThree ###  \n", 3, "Three"),
        ("## C#", 2, "C#"),
        ("## C# ##", 2, "C#"),
        ("####### seven", 0, ""),
        ("#hash", 0, ""),
        ("# ", 0, ""),
        ("# ##", 0, ""),
        ("# " + "long " * 200, 0, ""),
    ],
)
def test_what_a_heading_is(line: str, level: int, title: str) -> None:
    assert heading(line) == (level, title)


@pytest.mark.parametrize("filler", [" ", "#", ". ", "\t#"])
def test_a_heading_with_anything_in_it_is_read_at_once(tmp_path: Path, filler: str) -> None:
    parsed = one(write(tmp_path, "a.md", f"# Title\n# x{filler * 500_000}y\n"))
    assert parsed.about.title == "Title"


def test_html_keeps_structure_and_leaves_the_frame_out(tmp_path: Path) -> None:
    page = """<!doctype html><html lang="de-AT"><head><title>Rückgabe &amp; Umtausch</title>
    <link rel="canonical" href="https://acme.example/r"><style>p{}</style></head><body>
    <nav>Home | Shop</nav><main><h1>Rückgabe</h1><p>Dreißig <b>Tage</b>
    Zeit.</p><ul><li>ungeöffnet<li>mit Beleg</ul><pre>A-1001
  B</pre><table><tr><th>Land</th><th>Tage</th></tr><tr><td>CA</td><td>6</td></tr></table>
    <script>track()</script></main><footer>Impressum</footer></body></html>"""
    parsed = one(write(tmp_path, "a.html", page))
    assert parsed.about.title == "Rückgabe & Umtausch"
    assert (parsed.about.language, parsed.about.url) == ("de-AT", "https://acme.example/r")
    lines = [line for line in parsed.text.split("\n") if line]
    assert lines == [
        *("# Rückgabe", "Dreißig Tage Zeit.", "- ungeöffnet", "- mit Beleg", "```", "A-1001"),
        *("B", "```", "Land | Tage |", "CA | 6 |"),
    ]


def test_what_a_page_hides_from_its_readers_is_left_out(tmp_path: Path) -> None:
    page = """<body style="visibility: hidden"><p>Thirty days.</p>
    <p hidden>one</p><div style="color:red; DISPLAY : none">two</div><p>Unopened.</p></body>"""
    assert one(write(tmp_path, "a.html", page)).text.split() == ["Thirty", "days.", "Unopened."]


def test_html_in_the_encoding_it_states(tmp_path: Path) -> None:
    page = '<meta charset="iso-8859-1"><body><p>Größe</p></body>'.encode("latin-1")
    assert one(write(tmp_path, "a.htm", page)).text == "Größe\n"


def test_html_nested_deeper_than_any_stack(tmp_path: Path) -> None:
    page = "<div>" * 20_000 + "deep" + "</div>" * 20_000
    assert "deep" in one(write(tmp_path, "a.html", page)).text


def test_pdf(tmp_path: Path) -> None:
    parsed = one(write(tmp_path, "a.pdf", a_pdf("Thirty days for a return.")))
    assert parsed.text == "Thirty days for a return.\n"
    assert parsed.about.title == "Returns, in print"


def test_docx(tmp_path: Path) -> None:
    parsed = one(write(tmp_path, "a.docx", a_docx()))
    assert parsed.about.title == "Return policy"
    assert [line for line in parsed.text.split("\n") if line] == [
        *("# Returns", "Thirty days.", "- unopened", "Canada | 6 days", "## Exceptions"),
    ]


def test_a_docx_without_properties_has_its_first_heading_for_a_title(tmp_path: Path) -> None:
    packed, bare = zipfile.ZipFile(io.BytesIO(a_docx())), io.BytesIO()
    with zipfile.ZipFile(bare, "w") as file:
        for name in packed.namelist():
            content = packed.read(name)
            if name == "_rels/.rels":
                content = re.sub(rb"<Relationship [^>]*core-properties[^>]*>", b"", content)
            if name != "docProps/core.xml":
                file.writestr(name, content)
    parsed = one(write(tmp_path, "a.docx", bare.getvalue()))
    assert (parsed.about.title, parsed.about.language) == ("Returns", "")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_text_with_a_mark_needs_no_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "a.txt", "Größe\r\nzwei".encode(encoding))
    assert one(path).text == "Größe\nzwei"


def test_text_in_another_encoding_that_is_named(tmp_path: Path) -> None:
    assert one(write(tmp_path, "a.txt", "Größe".encode("latin-1")), "latin-1").text == "Größe"


def test_json_lines_report_the_bad_line_and_keep_the_others(tmp_path: Path) -> None:
    lines = [
        '{"name": "a", "text": "one", "scopes": ["vip"], "valid_until": "2026-12-31"}',
        '{"id": 7, "text": "two"}',
        "",
        "{broken",
        '{"name": "c"}',
        '{"name": "d", "text": "four", "scope": "typo"}',
        "[1]",
    ]
    found = read_file(write(tmp_path, "a.jsonl", "\n".join(lines)))
    good = [each for each in found if isinstance(each, Parsed)]
    assert [(each.name, each.text) for each in good] == [("a", "one"), ("7", "two")]
    assert good[0].about.scopes == ("vip",)
    bad = [str(each) for each in found if isinstance(each, Unreadable)]
    assert [reason.partition(":")[0] for reason in bad] == ["line 4", "line 5", "line 6", "line 7"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF-1.7\ngarbage", "a broken PDF"),
        ("a.pdf", a_pdf("secret", password="x"), "password"),
        ("a.pdf", a_pdf(""), "no page holds text"),
        ("a.pdf", b"", "a broken PDF"),
        ("a.docx", b"\xd0\xcf\x11\xe0 an encrypted one is no zip", "broken DOCX, or one with a"),
        ("a.docx", a_docx()[:900], "broken DOCX"),
        ("a.txt", "Größe".encode("latin-1"), "not utf-8: byte 2"),
        ("a.txt", b"a\x00b", "NUL"),
        ("a.txt", b"  \n", "no text"),
        ("a.md", "---\ntitle: [a\n---\n", "while parsing"),
        ("a.md", "---\nscopes: a b\n---\nx", "scopes: give a list"),
        ("a.md", "---\nvalid_from: soon\n---\nx", "^valid_from: give a day"),
        ("a.md", "---\nvalid_from: 2026-13-01\n---\nx", "front matter: month must be"),
        ("a.md", "---\ntitle: !!bool maybe\n---\nx", "front matter"),
        ("a.html", b"<p>" * (6 * 2**20), "page of more than 16 MiB"),
        ("a.html", b"<div>" * 200_000, "20,000 elements within each other"),
        ("a.md", "---\nauthor: me\n---\nx", "author"),
        ("a.html", "<body><nav>only</nav></body>", "no text"),
        ("a.xls", b"x", "format '.xls' is not read"),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_file(write(tmp_path, name, content))


def test_too_large_a_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(Unreadable, match="MiB"):
        read_file(path)


@pytest.mark.parametrize(("parts", "what"), [(9, "512 MiB$"), (2, "64 MiB of text")])
def test_a_docx_that_unpacks_to_a_mountain_is_refused(
    tmp_path: Path, parts: int, what: str
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(parts):
            packed.writestr(f"word/{number}.png", b"\0" * 2**26)
    with pytest.raises(Unreadable, match=f"unpacks to more than {what}"):
        read_file(write(tmp_path, "a.docx", file.getvalue()))


@given(st.sampled_from([".pdf", ".docx", ".html", ".jsonl", ".md", ".txt"]), st.binary())
def test_no_bytes_do_anything_but_parse_or_be_refused(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    try:
        assert read_file(path)
    except Unreadable as error:
        assert str(error)


def test_what_a_document_says_goes_before_what_is_said_of_it() -> None:
    own = About(title="Own", scopes=("vip",))
    given_ = About(title="Given", scopes=("staff",), language="en")
    both = own.over(given_)
    assert (both.title, both.language, both.scopes) == ("Own", "en", ("staff", "vip"))
