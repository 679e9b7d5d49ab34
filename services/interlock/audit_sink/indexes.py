"""Whether the tables that records are found by agree with the records."""

import hashlib
from collections.abc import Iterable, Iterator

from interlock.audit_sink.database import Database
from interlock.audit_sink.ingest import terms
from interlock.audit_sink.merkle import Node

_FACETS = "SELECT sequence, facets FROM events"


class IndexCheck:
    """Takes in every record, then compares. Of postings only a sum of hashes is kept."""

    def __init__(self) -> None:
        self._sum = 0
        self._nodes: dict[tuple[int, int], bytes] = {}

    def record(self, sequence: int, facets_text: str) -> None:
        """Take in what a record can be found by."""
        for number in _terms(facets_text):
            self._sum += _hash(number, sequence)

    def nodes(self, completed: Iterable[Node]) -> None:
        """Take in full subtrees."""
        for level, number, found in completed:
            self._nodes[level, number] = found

    def wrong_postings(self, database: Database) -> Iterator[int]:
        """The sequences whose postings are not those of their facets, in order."""
        stored = sum(_hash(*row) for row in database.rows("SELECT term, sequence FROM postings"))
        if stored == self._sum:
            return
        expected = {
            (number, sequence)
            for sequence, text in database.rows(_FACETS)
            for number in _terms(text)
        }
        for row in database.rows("SELECT term, sequence FROM postings"):
            expected ^= {(row[0], row[1])}
        yield from sorted({sequence for _, sequence in expected})

    def wrong_nodes(self, database: Database) -> Iterator[tuple[int, int]]:
        """Level and number of the stored subtrees that are not as computed, or not there."""
        expected = dict(self._nodes)
        for level, number, found in database.rows("SELECT level, idx, hash FROM nodes"):
            if expected.pop((level, number), None) != bytes(found):
                yield level, number
        yield from expected


def _hash(number: int, sequence: int) -> int:
    data = number.to_bytes(8, signed=True) + sequence.to_bytes(8, signed=True)
    return int.from_bytes(hashlib.sha256(data).digest())


def _terms(facets_text: str) -> set[int]:
    try:
        return terms(facets_text)
    except (ValueError, AttributeError, TypeError):
        return set()  # its leaf shows that it was changed
