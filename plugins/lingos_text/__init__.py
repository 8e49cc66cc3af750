"""The first function library: text in, text, labels or data out.

Written against the public API of `lingos_kernel` alone, as anybody's plugin would be.
"""

from __future__ import annotations

from lingos_kernel import Register, hookimpl

__all__ = ["lingos_register_syscalls"]


@hookimpl
def lingos_register_syscalls(register: Register) -> None:
    """Register every function of the library."""
    from lingos_text import ask, extraction, judging, pieces, rewriting, summaries

    for function in (
        summaries.summarize,
        rewriting.translate,
        rewriting.rewrite,
        judging.classify,
        judging.sentiment,
        extraction.extract,
        extraction.keywords,
        pieces.chunk,
        pieces.similarity,
        ask.ask,
    ):
        register.add(function)
