"""Keys of pages: equal exactly when model, namespace and all tokens up to the page are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.memory.pages import PagePool
from lingos_kernel.memory.prefix_keys import KEY_BYTES, PrefixKeys
from lingos_kernel.memory.radix import RadixNode, RadixTree, chunks_of

pages = st.lists(st.lists(st.integers(0, 2**40), min_size=2, max_size=2), max_size=4)


@given(
    one=st.tuples(st.sampled_from(["m", "n"]), st.sampled_from(["", "red"]), pages),
    other=st.tuples(st.sampled_from(["m", "n"]), st.sampled_from(["", "red"]), pages),
)
def test_a_key_names_all_that_a_page_depends_on(
    one: tuple[str, str, list[list[int]]], other: tuple[str, str, list[list[int]]]
) -> None:
    """Two chains end on the same key only if everything before it was the same."""
    ends = []
    for identity, namespace, chunks in (one, other):
        keys = PrefixKeys(identity)
        chain = [keys.root(namespace), *keys.chain(keys.root(namespace), chunks)]
        assert all(len(key) == KEY_BYTES for key in chain)
        assert len(set(chain)) == len(chain)
        ends.append(chain[-1])
    assert (ends[0] == ends[1]) == (one == other)


def test_the_tree_keeps_the_keys_of_what_it_splits() -> None:
    """A node's keys are those of the tokens on its path, however its run was cut."""
    pool = PagePool(8)
    tree, keys = RadixTree(pool, page_slots=2), PrefixKeys("m")
    tokens = [1, 2, 3, 4, 5, 6]
    expected = keys.chain(keys.root("red"), chunks_of(tokens, 2))
    node = tree.root("red")
    tree.lock(node)
    end, _ = tree.extend(node, tokens, pool.allocate(3))
    assert keys.of(end) == expected
    other, _ = tree.extend(node_after(tree), [3, 9], pool.allocate(1))
    assert other is not end
    assert keys.of(end) == expected[1:]
    assert keys.of(other) == keys.chain(expected[0], [[3, 9]])
    assert keys.below(other, [(7, 7)]) == keys.chain(keys.of(other)[-1], [[7, 7]])


def node_after(tree: RadixTree) -> RadixNode:
    """The locked node of the first page of the run."""
    node, _ = tree.match("red", [1, 2])
    tree.lock(node)
    return node
