"""Near-duplicates among many texts."""

from random import Random

import pytest

from interlock.sdk.similar import SIMILAR, near_duplicates, signature, similarity

RANDOM = Random(7)
WORDS = [f"word{number}" for number in range(2_000)]


def text(words: int) -> list[str]:
    return RANDOM.choices(WORDS, k=words)


def changed(words: list[str], share: float) -> list[str]:
    """The end replaced."""
    keep = round(len(words) * (1 - share))
    return words[:keep] + text(len(words) - keep)


@pytest.mark.parametrize("words", [60, 400, 3_000])
def test_the_estimate_is_close_to_the_share(words: int) -> None:
    original = text(words)
    for share in (0.05, 0.3, 0.6):
        kept = 1 - share
        true = kept / (2 - kept)
        found = similarity(
            signature(" ".join(original)), signature(" ".join(changed(original, share)))
        )
        assert found == pytest.approx(true, abs=0.17)


def test_pairs_are_found_among_many_and_nothing_else() -> None:
    texts = [text(200) for _ in range(300)]
    texts += [changed(texts[3], 0.02), changed(texts[40], 0.05), texts[3], changed(texts[9], 0.5)]
    found = near_duplicates([" ".join(one) for one in texts])
    assert [(one, other) for one, other, _ in found] == [(3, 300), (40, 301), (3, 302)]
    assert all(share >= SIMILAR for *_, share in found)


def test_layout_and_case_make_no_difference() -> None:
    assert near_duplicates(["You have  30 days.", "x y z", "you have\n\n30 DAYS"]) == [(0, 2, 1.0)]


def test_empty_and_short_texts() -> None:
    assert near_duplicates(["", "a", "b"]) == []
    assert near_duplicates([]) == []
