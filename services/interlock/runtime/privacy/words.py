"""Ordinary English words: with a capital they begin a sentence and name nobody.

`words.txt` holds the words that are mostly written small in public support documents and web
passages. A word that is both (mark, will) counts as ordinary.
"""

from pathlib import Path

COMMON = frozenset((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())
