"""Which segments a generation takes over: all that is wanted once, few segments, little work."""

import random

from hypothesis import given
from hypothesis import strategies as st

from interlock.retriever.generations.content import Lines, rows_of
from interlock.retriever.generations.segments import LOOSE, Held, planned


def line(name: str, version: int, passages: int = 1) -> str:
    ends = ",".join(f'"#{version}-{number}"' for number in range(passages))
    return f'{name:0>8}{version:08} {passages} ["acme","help",[],[{ends}]]'


def after(before: list[Held], wanted: Lines, number: int) -> tuple[list[Held], int]:
    """The segments of the next generation, and how many passages were written for it."""
    kept, put = planned(wanted, before)
    rows = rows_of(put.values())
    return [*kept, Held(f"s{number}", rows, put)] if put else kept, rows


def check(parts: list[Held], wanted: Lines) -> None:
    lines = [one for part in parts for one in part.lines.items()]
    assert sorted(lines) == sorted(wanted.items())
    for part in parts:
        assert part.live == rows_of(part.lines.values())
        assert len(part.gone) <= LOOSE * part.rows


@given(
    st.lists(
        st.dictionaries(st.integers(0, 9).map(str), st.none() | st.integers(1, 3), max_size=5),
        max_size=12,
    )
)
def test_every_document_is_in_one_segment_as_it_stands(
    changes: list[dict[str, int | None]],
) -> None:
    wanted: dict[str, str] = {}
    parts: list[Held] = []
    for number, change in enumerate(changes):
        for name, passages in change.items():
            wanted.pop(name, None)
            if passages is not None:
                wanted[name] = line(name, number, passages)
        parts, _ = after(parts, dict(wanted), number)
        check(parts, wanted)
        clean, put = planned(wanted, parts, clean=True)
        assert not any(one.gone for one in clean)
        assert sorted({**put, **{k: v for one in clean for k, v in one.lines.items()}}) == sorted(
            wanted
        )


def test_few_segments_and_little_is_written_again() -> None:
    """4,000 documents, then 1,500 single changes: as if each passage were written 30 times."""
    chance = random.Random(5)
    wanted = {str(number): line(str(number), 0) for number in range(4_000)}
    parts, _ = after([], wanted, 0)
    written, most = 0, 0
    for number in range(1, 1_501):
        name = str(chance.randrange(4_000))
        wanted[name] = line(name, number)
        parts, rows = after(parts, wanted, number)
        written, most = written + rows, max(most, len(parts))
    check(parts, wanted)
    assert most <= 6
    assert written / 1_500 <= 30
