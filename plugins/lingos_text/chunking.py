"""Splitting text at its natural seams into chunks of a bounded number of tokens. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

CountTokens = Callable[[list[str]], list[int]]

_SENTENCE = re.compile(r".+?(?:[.!?]+[\"')\]]*\s+|[。！？]+\s*|\n{2,}|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: `text == whole[start:end]`."""

    text: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    tokens: int


def sentences(text: str) -> list[str]:
    """The text cut after sentences and paragraphs; joined again it is the same text."""
    return [match.group() for match in _SENTENCE.finditer(text)]


def chunks(text: str, count: CountTokens, *, limit: int, overlap: int = 0) -> list[Chunk]:
    """Chunks of whole sentences with at most `limit` tokens each, as counted piece by piece.

    A sentence that is longer is cut at words, a longer word at characters. Each chunk begins with
    up to `overlap` tokens of the one before it.
    """
    spans = list(_spans(text, sentences(text), count, limit))
    return [_chunk(text, group) for group in _groups(spans, limit, min(overlap, limit // 2))]


def _spans(
    text: str, pieces: Iterable[str], count: CountTokens, limit: int, offset: int = 0
) -> Iterator[_Span]:
    """Every piece as a span of at most `limit` tokens, cutting those that are longer."""
    listed = list(pieces)
    for piece, tokens in zip(listed, count(listed), strict=True):
        end = offset + len(piece)
        if tokens <= limit or len(piece) == 1:
            yield _Span(offset, end, tokens)
        else:
            yield from _spans(text, _smaller(piece), count, limit, offset)
        offset = end


def _smaller(piece: str) -> list[str]:
    """The piece in two halves, cut at the white space nearest to the middle."""
    middle = len(piece) // 2
    seams = [match.end() for match in re.finditer(r"\s+", piece) if match.end() < len(piece)]
    cut = min(seams, key=lambda seam: abs(seam - middle)) if seams else middle
    return [piece[:cut], piece[cut:]]


def _groups(spans: list[_Span], limit: int, overlap: int) -> Iterator[list[_Span]]:
    group: list[_Span] = []
    for span in spans:
        if group and sum(s.tokens for s in group) + span.tokens > limit:
            yield group
            group = _tail(group, min(overlap, limit - span.tokens))
        group.append(span)
    if group:
        yield group


def _tail(group: list[_Span], tokens: int) -> list[_Span]:
    """The last spans of a group that together have at most so many tokens."""
    tail: list[_Span] = []
    for span in reversed(group[1:]):
        if sum(s.tokens for s in tail) + span.tokens > tokens:
            break
        tail.insert(0, span)
    return tail


def _chunk(text: str, group: list[_Span]) -> Chunk:
    start, end = group[0].start, group[-1].end
    return Chunk(text[start:end], start, end, sum(span.tokens for span in group))
