"""After an erasure: no byte of the document is left in what a retriever keeps.

The tombstone on the log is counted by the corpus (`erasures`), and every generation says how many
were known when it was made. One that knew of fewer may hold erased words: it goes, pinned or not,
here and on a server. Then the corpus is written anew. All of it may be cut off and begun again.
"""

import asyncio
import shutil
from collections.abc import Collection, Iterable, Sequence

import structlog

from interlock.retriever.corpus import Corpus, text_name
from interlock.retriever.documents import Passage
from interlock.retriever.generations.building import delete_outdated
from interlock.retriever.generations.folder import REINDEXING, Generations
from interlock.runtime.errors import RetryLater
from interlock_contracts.failures import FailureCode

log = structlog.get_logger(__name__)


async def forget(
    generations: Generations, corpus: Corpus, in_use: Collection[str], own: Sequence[Passage]
) -> bool:
    """Delete what may hold erased words; `own` are the passages of bundles' folders.

    A generation on a server that is still `in_use` stays until the next call. Whether all was
    done: not while another process makes an index. Raises `RetryLater` while somebody else reads
    what is to be written anew.
    """
    erasures = await asyncio.to_thread(corpus.erasures)
    if not await delete_outdated(generations, in_use, erasures):
        return False
    pinned = generations.current().pinned
    if pinned is not None and generations.made_for(pinned) is None:
        generations.note(pinned="")
        log.warning("index_let_go", index=pinned, reason="it held words that were erased since")
    if await asyncio.to_thread(corpus.unscrubbed):
        with generations.locked(REINDEXING, wait=False) as free:
            if free:
                shutil.rmtree(generations.folder / REINDEXING, ignore_errors=True)
        await asyncio.to_thread(scrub, corpus, own)
        log.info("erasure_followed", erasures=erasures)
    return True


def scrub(corpus: Corpus, keep: Iterable[Passage]) -> None:
    """Write the corpus anew, so that its file and its journal hold what stands, and no more.

    Of the vectors those of the documents that stand, and of `keep`, are kept. Raises `RetryLater`
    while others read.
    """
    with corpus.opened() as connection:
        known = {row[0] for row in connection.execute("SELECT document_id FROM documents")}
    beside = (one for one in keep if one.document_id not in known)
    names = {text_name(one.searchable) for one in (*beside, *corpus.passages())}
    with corpus.writing() as connection:
        (count,) = connection.execute("SELECT count FROM erasures").fetchone()
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("CREATE TEMP TABLE kept (text TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.executemany("INSERT INTO kept VALUES (?)", ((name,) for name in names))
        connection.execute("DELETE FROM vectors WHERE text NOT IN (SELECT text FROM kept)")
    with corpus.opened() as connection:
        # Who is in the way is waited for by the next call, not here.
        connection.execute("PRAGMA busy_timeout = 1000")
        # A page that was let go keeps its bytes until the file is written anew.
        connection.execute("VACUUM")
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise RetryLater(FailureCode.STAGE_FAILED, "others read the retriever's documents")
        connection.execute("UPDATE erasures SET scrubbed = ?", (count,))
