"""Retrieval: quality on the development collections, latency and throughput.

`python -m bench retrieval --data PATH`; PATH holds `bank_kb…/`, `chunking…/`,
`ragtruth….jsonl` and `clinc150….jsonl`.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

SIZES = (10_000, 100_000)


async def run_retrieval(
    data: Path, console: Console, sizes: Sequence[int] = SIZES, only: Collection[str] = ()
) -> None:
    """Print every table. Some minutes, most of them for the 100,000 passages.

    With `only` "quality" nothing about speed; with "stage" the whole stage alone. With other
    `sizes` than the usual ones only the speed at those is measured; the whole stage and the
    alternatives only up to the smallest of the usual ones, for their sake.
    """
    from bench.retrieval.quality import quality_tables
    from bench.retrieval.speed import speed_tables, throughput_table

    if sizes == SIZES and "stage" not in only:
        await quality_tables(data, console)
    if "quality" in only:
        return
    if sizes[0] <= SIZES[0]:
        await throughput_table(data, console, sizes[0])
    if "stage" in only:
        return
    await speed_tables(data, console, sizes, alternatives=SIZES[0])


async def run_given(folders: Sequence[Path], console: Console) -> None:
    """Print the quality on collections of one's own, each a folder (see `given`)."""
    from bench.retrieval.given import given
    from bench.retrieval.quality import documents_table

    await documents_table({one.name: partial(given, one) for one in folders}, console)
