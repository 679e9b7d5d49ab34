"""The Merkle tree of RFC 6962 (§2.1): roots, inclusion and consistency proofs.

A hash is 32 bytes of SHA-256. Leaves and nodes are hashed with different prefixes, so that
neither can be passed off as the other. Verification follows RFC 9162 (§2.1.3.2 and §2.1.4.2).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


STORED_LEVEL = 8
"""Subtrees of 2 to the power of this are worth storing: a proof then reads few leaves."""

Node = tuple[int, int, bytes]
"""A full subtree: its level, its number among those of its level, its hash."""

Subtree = Callable[[int, int], bytes]
"""The root over the leaves from one index up to another (exclusive)."""


class CompactRange:
    """A growing tree of which only O(log n) hashes are kept: its full subtrees, largest first."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Start empty, or go on from a state kept before.

        Raises:
            ValueError: the number of hashes is not that of a tree of this size.
        """
        self.size = size
        self._hashes = list(hashes)
        if len(self._hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees")

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the full subtrees, largest first: with `size`, the whole state."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> list[Node]:
        """Add one leaf hash; what subtrees of `STORED_LEVEL` and above it completed."""
        self.size += 1
        level, completed = 0, []
        while not self.size >> level & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            level += 1
            if level >= STORED_LEVEL:
                completed.append((level, (self.size >> level) - 1, leaf))
        self._hashes.append(leaf)
        return completed

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        *rest, root = self._hashes
        for left in reversed(rest):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def root_between(
    first: int, last: int, stored: Callable[[int, int], bytes | None], leaves: Subtree
) -> bytes:
    """The root over the leaves `first` to `last` (exclusive), from stored subtrees where possible.

    `first` must be a multiple of the largest power of two that fits. `stored` looks a full
    subtree up by level and number; `leaves` computes one of at most 2 ** `STORED_LEVEL` leaves.
    """
    size = last - first
    if size <= 1 << STORED_LEVEL:
        return leaves(first, last)
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        found = stored(level, first >> level)
        if found is not None:
            return found
    split = first + _split(size)
    left = root_between(first, split, stored, leaves)
    return node_hash(left, root_between(split, last, stored, leaves))


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """The hashes from leaf `index` up to the root of the first `size`; raises `IndexError`."""
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree of {size}")
    proof: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        split = first + _split(last - first)
        if index < split:
            proof.append(subtree(split, last))
            last = split
        else:
            proof.append(subtree(first, split))
            first = split
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether `leaf` is at `index` of the tree with this size and root."""
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and found == root


def consistency_proof(subtree: Subtree, old_size: int, size: int) -> list[bytes]:
    """That the tree of the first `old_size` leaves is a prefix; raises `IndexError`."""
    if not 0 < old_size <= size:
        raise IndexError(f"size {old_size} of a tree of {size}")
    proof: list[bytes] = []
    first, last = 0, size
    while last != old_size:
        split = first + _split(last - first)
        if old_size <= split:
            proof.append(subtree(split, last))
            last = split
        else:
            proof.append(subtree(first, split))
            first = split
    if first:  # else it is the old tree itself, whose root the verifier has
        proof.append(subtree(first, last))
    return proof[::-1]


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of `old_size` leaves is a prefix of that of `new_size` (both above 0)."""
    if old_size == new_size:
        return not proof and old_root == new_root
    if not 0 < old_size < new_size or not proof:
        return False
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root
