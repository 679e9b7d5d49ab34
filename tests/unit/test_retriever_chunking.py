"""The chunkers: what each promises of any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from interlock.bundles.chunkers import ByHeadings, BySentences, ByTokens, ChunkerSpec
from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle
from interlock.retriever.chunking import chunker_of
from interlock.retriever.documents import Document, chunker_identity, cut
from interlock_contracts.retrieval import Trust

SPECS: list[ChunkerSpec] = [
    ByHeadings(),
    ByHeadings(max_chars=100, min_chars=0),
    BySentences(),
    BySentences(sentences=1, overlap=0),
    ByTokens(tokens=10, overlap=9),
    ByTokens(),
]
LINES = st.sampled_from(
    ["# One", "## Two", "First. Second! Third?", "", "```", "a b c d e f g h i j k l m", "é…»"]
)
TEXTS = st.lists(LINES, max_size=30).map("\n".join) | st.text(max_size=300)


def passages(text: str, spec: ChunkerSpec) -> list[str]:
    document = Document(
        document_id="acme/help/page", version="v", tenant="acme", source="help",
        trust=Trust.TRUSTED, scopes=(), title="Page", url=None, text=text,
    )  # fmt: skip
    return [one.text for one in cut(document, KnowledgeSource(chunker=spec))]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@given(text=TEXTS)
def test_spans_are_in_order_and_leave_no_word_out(spec: ChunkerSpec, text: str) -> None:
    spans = list(chunker_of(spec)(text))
    assert spans == list(chunker_of(spec)(text))
    assert [start for start, _, _ in spans] == sorted({start for start, _, _ in spans})
    covered = {place for start, end, _ in spans for place in range(start, end)}
    assert all(0 <= start < end <= len(text) for start, end, _ in spans)
    assert all(place in covered for place, char in enumerate(text) if char.isalnum())


def test_sentences_in_windows_that_overlap() -> None:
    text = 'One. Two? "Three!" Four… Five.'
    assert passages(text, BySentences(sentences=3, overlap=1)) == [
        'One. Two? "Three!"',
        '"Three!" Four… Five.',
    ]


def test_tokens_in_windows_that_overlap() -> None:
    words = [f"w{number}" for number in range(25)]
    found = passages(" ".join(words), ByTokens(tokens=10, overlap=2))
    assert [one.split()[0] for one in found] == ["w0", "w8", "w16"]
    assert found[-1].split()[-1] == "w24"


@pytest.mark.parametrize(
    "spec", [BySentences(sentences=1, overlap=0), ByTokens(tokens=10, overlap=0)]
)
def test_windows_know_the_headings_above_them(spec: ChunkerSpec) -> None:
    text = "# A\n" + "one. " * 30 + "\n## B\n" + "two. " * 30
    spans = list(chunker_of(spec)(text))
    assert spans[0][2] == "A" and spans[-1][2] == "A › B"


def test_a_change_leaves_the_ids_of_other_windows_alone() -> None:
    before = " ".join(f"Sentence number {number}." for number in range(40))
    after = before.replace("number 39.", "number forty.")
    for spec in (BySentences(), ByTokens(tokens=20, overlap=5)):
        one, other = passages(before, spec), passages(after, spec)
        assert one[:-2] == other[:-2] and one != other


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize(
    "text",
    ["# x" + " " * 100_000 + "y", "a" + "." * 100_000 + "b", "# " + "word " * 20_000, "a" * 100_000,
     "# x" + "\n" * 100_000 + "y"],
    ids=["blanks", "dots", "heading", "no blank", "empty lines"],
)  # fmt: skip
def test_no_text_takes_long_or_makes_a_passage_without_end(spec: ChunkerSpec, text: str) -> None:
    spans = [(text[start:end].strip(), above) for start, end, above in chunker_of(spec)(text)]
    assert max(len(passage) for passage, _ in spans) <= 16_000
    assert max(len(above) for _, above in spans) <= 500


@pytest.mark.parametrize(
    "chunker",
    [
        {"by": "sentences", "sentences": 2, "overlap": 2},
        {"by": "tokens", "tokens": 10, "overlap": 10},
        {"by": "pages"},
        {"sentences": 3},
    ],
)
def test_parameters_that_make_no_sense_are_refused(chunker: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KnowledgeSource.model_validate({"path": "k/{tenant}", "chunker": chunker})


def test_the_parameters_are_part_of_the_identity_and_older_bundles_keep_their_digest() -> None:
    identities = {chunker_identity(KnowledgeSource(chunker=spec)) for spec in SPECS}
    assert len(identities) == len(SPECS)
    assert chunker_identity(KnowledgeSource()) == chunker_identity(
        KnowledgeSource(chunker=ByHeadings())
    )
    plain = Bundle(name="b", version="1", sources={"s": KnowledgeSource(path="k/{tenant}")})
    assert "chunker" not in plain.model_dump_json()
