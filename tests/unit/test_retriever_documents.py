"""Loading documents and cutting them into passages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle
from interlock.retriever.documents import (
    DEFAULT_CHUNKER,
    Document,
    Passage,
    cut,
    load_documents,
    load_passages,
)
from interlock.runtime.errors import UserError
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust


def bundle(**sources: KnowledgeSource) -> Bundle:
    return Bundle(name="test", version="1", sources=sources)


HELP = KnowledgeSource(path="knowledge/{tenant}/help", trust=Trust.TRUSTED)


def write(root: Path, path: str, text: str) -> None:
    file = root / "knowledge" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def document(text: str) -> Document:
    return Document(
        document_id="acme/help/page", version=digest_bytes(b""), tenant="acme", source="help",
        trust=Trust.TRUSTED, scopes=(), title="Page", url=None, text=text,
    )  # fmt: skip


def passages(text: str) -> list[Passage]:
    return list(cut(document(text)))


def test_documents_of_every_tenant_with_front_matter(tmp_path: Path) -> None:
    text = "---\ntitle: Returns\nurl: https://x.example/r\nscopes: [vip]\n---\nThirty days.\n"
    write(tmp_path, "acme/help/returns.md", text)
    write(tmp_path, "globex/help/deep/returns.md", "# Coming back\nTen days.")
    write(tmp_path, "globex/help/picture.png", "no text")
    write(tmp_path, "initech/other/returns.md", "not of this source")
    source = HELP.model_copy(update={"scopes": ("staff",)})
    acme, globex = load_documents(bundle(help=source), tmp_path)
    assert acme.document_id == "acme/help/returns"
    assert (acme.title, acme.url, acme.tenant) == ("Returns", "https://x.example/r", "acme")
    assert acme.scopes == ("staff", "vip")
    assert acme.text == "Thirty days.\n"
    assert acme.trust is Trust.TRUSTED
    assert (globex.document_id, globex.title) == ("globex/help/deep/returns", "Coming back")
    assert globex.scopes == ("staff",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\ntitle: [\n---\nx", "while parsing"),
        ("---\ntitle: 7\n---\nx", "title: Input should be a valid string"),
        ("---\nowner: me\n---\nx", "owner: Extra inputs"),
        ("---\nscopes: [not a token]\n---\nx", "scopes.0: String should match"),
        ("---\n- a list\n---\nx", "front matter: Input should be a valid"),
        ("a bell \x07", "U\\+0007"),
    ],
)
def test_a_bad_document_is_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "acme/help/bad.md", text)
    with pytest.raises(UserError, match=rf"bad\.md: .*{reason}"):
        load_documents(bundle(help=HELP), tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write(tmp_path, "acme/help/bad.md", "")
    (tmp_path / "knowledge/acme/help/bad.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bad\.md: not utf-16: byte 2"):
        load_documents(bundle(help=HELP), tmp_path)


@pytest.mark.parametrize(
    "path", ["knowledge/help", "/knowledge/{tenant}", "../{tenant}/help", "{tenant}/{tenant}"]
)
def test_a_source_says_where_the_tenant_stands(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"source 'help': the path .* \{tenant\}"):
        load_documents(bundle(help=KnowledgeSource(path=path)), tmp_path)


def test_a_source_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*interlock ingest"):
        load_documents(bundle(help=HELP), tmp_path)


def test_a_folder_that_is_no_tenant(tmp_path: Path) -> None:
    write(tmp_path, "not.a.tenant/help/a.md", "x")
    with pytest.raises(UserError, match=r"'not\.a\.tenant' is no tenant"):
        load_documents(bundle(help=HELP), tmp_path)


def test_a_link_into_another_tenants_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "globex/help/secret.md", "x")
    write(tmp_path, "acme/help/a.md", "x")
    (tmp_path / "knowledge/acme/help/b.md").symlink_to(tmp_path / "knowledge/globex/help/secret.md")
    with pytest.raises(UserError, match="leads out of the folder"):
        load_documents(bundle(help=HELP), tmp_path)


def test_line_ends_do_not_matter_to_the_text(tmp_path: Path) -> None:
    write(tmp_path, "acme/help/a.md", "")
    (tmp_path / "knowledge/acme/help/a.md").write_bytes(
        b"\xef\xbb\xbf---\r\ntitle: T\r\n---\r\none\r\ntwo\r\n"
    )
    (found,) = load_passages(bundle(help=HELP), tmp_path)
    assert (found.title, found.text) == ("T", "one\ntwo")


LONG = "This sentence is here to make the section long enough to stand alone. " * 4


def test_a_heading_starts_a_passage_and_stays_with_its_text() -> None:
    first, second, third = passages(f"# A\n{LONG}\n## B\n{LONG} b\n### C\n\n{LONG} c\n")
    assert first.text.startswith("# A\n") and first.heading == "A"
    assert second.text.startswith("## B\n") and second.heading == "A › B"
    assert third.text.startswith("### C\n") and third.heading == "A › B › C"


def test_short_sections_stay_together() -> None:
    (only,) = passages("# A\nshort\n## B\nshort too")
    assert only.text == "# A\nshort\n## B\nshort too"


def test_a_heading_inside_a_fence_is_none() -> None:
    (only,) = passages(f"# A\n```\n{LONG}\n# not a heading\n```\n")
    assert only.text.endswith("# not a heading\n```")


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    found = passages(LONG * 10)
    assert len(found) >= 2
    assert all(one.text.endswith("stand alone.") for one in found)


def test_ids_stay_when_other_parts_change() -> None:
    before = {p.text: p.chunk_id for p in passages(f"# A\n{LONG}\n# B\n{LONG} b")}
    after = {p.text: p.chunk_id for p in passages(f"# New\n{LONG}!\n# A\n{LONG}\n# B\n{LONG} c")}
    same = before.keys() & after.keys()
    assert len(same) == 1
    assert all(before[text] == after[text] for text in same)
    assert len(set(after.values())) == 3


def test_a_repeated_text_is_one_passage() -> None:
    assert len(passages(f"# A\n{LONG}\n# A\n{LONG}\n")) == 1


def test_an_empty_document_has_no_passage() -> None:
    assert passages("\n \n") == []


lines = st.sampled_from(
    ["# A", "## B", "", "```", "One. Two? Three!", "word " * 100, "x" * 1500, "- item", "   "]
)


@given(st.lists(lines, max_size=30).map("\n".join))
def test_passages_are_verbatim_and_nothing_is_lost(text: str) -> None:
    found = passages(text)
    for one in found:
        assert one.text in text
        assert one.digest == digest_bytes(one.text.encode())
        assert len(one.text) <= 2 * DEFAULT_CHUNKER.max_chars
    kept = {
        word for one in found for word in one.text.split() if len(word) < DEFAULT_CHUNKER.max_chars
    }
    assert {word for word in text.split() if len(word) < DEFAULT_CHUNKER.max_chars} <= kept
