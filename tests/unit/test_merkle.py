"""The Merkle tree against known vectors, and its proofs against forgery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.audit_sink.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_between,
    root_of,
    verify_consistency,
    verify_inclusion,
)

INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Test vectors of the Certificate Transparency project (merkle tree unit tests)."""

LEAVES = [leaf_hash(bytes.fromhex(text)) for text in INPUTS]

sizes = st.integers(min_value=1, max_value=70)


def proven(tree: list[bytes], index: int) -> list[bytes]:
    return inclusion_proof(lambda first, last: root_of(tree[first:last]), index, len(tree))


def grown(tree: list[bytes], old: int) -> list[bytes]:
    return consistency_proof(lambda first, last: root_of(tree[first:last]), old, len(tree))


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_and_the_prefixes() -> None:
    assert CompactRange().root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize("size", [255, 256, 257, 512, 700, 1024, 1300])
def test_proofs_from_stored_subtrees_are_those_from_all_leaves(size: int) -> None:
    tree, all_leaves, stored = CompactRange(), leaves(size), {}
    for leaf in all_leaves:
        stored.update({node[:2]: node[2] for node in tree.append(leaf)})
    read: list[int] = []

    def few(first: int, last: int) -> bytes:
        read.append(last - first)
        return root_of(all_leaves[first:last])

    def subtree(first: int, last: int) -> bytes:
        return root_between(first, last, lambda level, at: stored.get((level, at)), few)

    for index in (0, size // 2, size - 1):
        assert inclusion_proof(subtree, index, size) == proven(all_leaves, index)
        assert consistency_proof(subtree, index + 1, size) == grown(all_leaves, index + 1)
    assert max(read) <= 256


@given(sizes, sizes)
def test_a_compact_range_goes_on_from_its_kept_state(first: int, more: int) -> None:
    all_leaves = leaves(first + more)
    tree = CompactRange()
    for leaf in all_leaves[:first]:
        tree.append(leaf)
    again = CompactRange(tree.size, tree.hashes)
    for leaf in all_leaves[first:]:
        again.append(leaf)
    assert again.root() == root_of(all_leaves)
    assert again.size == first + more


def test_a_state_that_does_not_fit_its_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 full subtrees"):
        CompactRange(3, [LEAVES[0]])


@given(sizes, st.data())
def test_inclusion_is_proven_for_the_leaf_and_no_other(size: int, data: st.DataObject) -> None:
    tree = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = proven(tree, index), root_of(tree)
    assert verify_inclusion(tree[index], index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"forged"), index, size, proof, root)
    assert not verify_inclusion(tree[index], index, size, proof, leaf_hash(b"other root"))
    assert not verify_inclusion(tree[index], size, size, proof, root)
    assert not verify_inclusion(tree[index], index, size, [*proof, LEAVES[0]], root)
    for other in range(size):
        if other != index:
            assert not verify_inclusion(tree[index], other, size, proof, root)


@given(sizes, st.data())
def test_consistency_is_proven_for_a_prefix_and_nothing_else(
    size: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, size))
    tree = leaves(size)
    proof = grown(tree, old)
    old_root, new_root = root_of(tree[:old]), root_of(tree)
    assert verify_consistency(old, size, old_root, new_root, proof)
    forged = root_of([leaf_hash(b"forged"), *tree[1:old]])
    assert not verify_consistency(old, size, forged, new_root, proof)
    assert not verify_consistency(old, size, old_root, leaf_hash(b"other"), proof)
    assert not verify_consistency(old, size, old_root, new_root, [*proof, LEAVES[0]])
    if old < size:
        assert not verify_consistency(old, size, old_root, new_root, proof[:-1])


@pytest.mark.parametrize(("size", "asked"), [(3, 3), (3, -1), (0, 0)])
def test_proofs_of_what_is_not_there_are_refused(size: int, asked: int) -> None:
    with pytest.raises(IndexError):
        proven(leaves(size), asked)
    with pytest.raises(IndexError):
        grown(leaves(size), asked + 1 if size == 3 and asked == 3 else 0)
