"""Names of KV pages outside of the device: by all that their contents depend on.

A page's key is a keyed 256-bit hash over the model's identity, the namespace of its tenant, and
every token up to the page's last: a page is found only by who has the same model, the same
namespace and the same tokens. Without the same namespace the key cannot even be asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from lingos_kernel.memory.radix import Chunk, RadixNode

KEY_BYTES = 32


class PrefixKeys:
    """The keys of one model's pages."""

    def __init__(self, identity: str) -> None:
        """`identity`: model, adapter, number type and page layout; whatever changes the bytes."""
        self._key = blake2b(identity.encode(), digest_size=KEY_BYTES).digest()

    def root(self, namespace: str) -> bytes:
        """Where the chains of a namespace begin."""
        return self._hash(b"namespace", namespace.encode())

    def chain(self, before: bytes, chunks: Iterable[Sequence[int]]) -> list[bytes]:
        """The keys of consecutive pages, given the key of the page before them."""
        keys = []
        for chunk in chunks:
            before = self._hash(before, array("q", chunk).tobytes())
            keys.append(before)
        return keys

    def of(self, node: RadixNode) -> list[bytes]:
        """The keys of a node's pages, worked out once; a root's is that of its namespace."""
        unknown = []
        step: RadixNode | None = node
        while step is not None and not step.keys:
            unknown.append(step)
            step = step.parent
        for step in reversed(unknown):
            if step.parent is None:
                step.keys = [self.root(step.namespace)]
            else:
                step.keys = self.chain(step.parent.keys[-1], step.chunks)
        return node.keys

    def below(self, node: RadixNode, chunks: Iterable[Chunk]) -> list[bytes]:
        """The keys of pages that would follow the node's last."""
        return self.chain(self.of(node)[-1], chunks)

    def _hash(self, first: bytes, second: bytes) -> bytes:
        return blake2b(first + second, digest_size=KEY_BYTES, key=self._key).digest()
