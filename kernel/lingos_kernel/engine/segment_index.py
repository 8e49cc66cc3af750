"""Where the queries of a batch find their keys, cut into segments that begin at fixed positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lingos_kernel.engine.batch import Chunk, PackedBatch, Part
from lingos_kernel.engine.step_index import group_by_length, shared_pages, visible_pages
from lingos_kernel.memory.pages import PAGE_SLOTS

SEGMENT_PAGES = 8
SEGMENT_SLOTS = SEGMENT_PAGES * PAGE_SLOTS
"""A sum over up to 192 keys is one run of additions; a longer one is split in halves."""
QUERY_ROWS = 4
"""Products of fewer rows than this are summed in another order; numbers of rows are multiples."""
RUN_QUERIES = 256
"""Of a long part, computed at a time."""


@dataclass(frozen=True, slots=True)
class SegmentGroup:
    """Consecutive rows of one token each whose histories are of similar length."""

    first: int
    rows: int
    prefix: Tensor | None
    """[K]: pages that all rows begin with, in whole segments; None: they share none."""
    pages: Tensor
    """[rows * P]: P pages for each row after those; short rows are filled up with their last."""
    segments: int
    """How many segments P pages are."""
    mask: Tensor | None
    """float [rows * segments, 1, 1, slots], added to the scores; None: all is visible."""
    unseen: Tensor | None
    """float [segments, rows, 1, 1], -inf where a row sees nothing of a segment; None: nowhere."""


@dataclass(frozen=True, slots=True)
class NearSegment:
    """A segment as queries of a run see it, each of them being one row for each head."""

    first: int
    """The first slot, counted from the span's first page."""
    slots: int
    begin: int
    """Queries of the run before this one see nothing of it."""
    end: int
    """Queries of the run from this one on see nothing of it."""
    mask: Tensor | None
    """float [rows of begin to end, slots], added to the scores; None: all is visible."""


@dataclass(frozen=True, slots=True)
class QueryRun:
    """Consecutive queries of a span, few enough for what they see of each segment to be small."""

    first: int
    length: int
    whole: int
    """So many segments at the beginning are seen by all of them, all of each."""
    near: tuple[NearSegment, ...]
    """The others that some of them see."""


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """A run of tokens of one sequence."""

    offset: int
    length: int
    pages: Tensor
    runs: tuple[QueryRun, ...]


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Pages and masks of a batch for layers of one window and number of heads that share keys."""

    groups: tuple[SegmentGroup, ...]
    spans: tuple[SegmentSpan, ...]

    @classmethod
    def of(cls, batch: PackedBatch, window: int | None, heads: int) -> SegmentIndex:
        """Index a batch; `window` None sees everything."""
        tables = [visible_pages(part, window, SEGMENT_PAGES) for part in batch.singles]
        starts = [pages[0] for _, pages in tables]
        bounds = group_by_length([len(pages) for _, pages in tables], starts)
        return cls(
            tuple(_group(batch.singles[a:b], tables[a:b], a, window) for a, b in bounds),
            tuple(_span(chunk, window, heads) for chunk in batch.chunks),
        )


def _group(
    parts: Sequence[Part], tables: Sequence[tuple[int, list[int]]], first: int, window: int | None
) -> SegmentGroup:
    common = shared_pages(parts) if window is None and len(parts) > 1 else 0
    common -= common % SEGMENT_PAGES
    width = max(len(pages) for _, pages in tables) - common
    if width > SEGMENT_PAGES:
        width += -width % SEGMENT_PAGES
    segments = -(-width // SEGMENT_PAGES)
    flat: list[int] = []
    for _, pages in tables:
        own = pages[common:]
        # Filled up with a page of its own: whatever is there never meets another sequence.
        flat += own + own[-1:] * (width - len(own))
    bases = [(begin + common) * PAGE_SLOTS for begin, _ in tables]
    newest = [part.start - base for part, base in zip(parts, bases, strict=True)]
    visible = _visible(newest, window, width * PAGE_SLOTS).view(len(parts), segments, -1)
    is_whole = bool(visible.all())
    seen = visible.any(-1)
    return SegmentGroup(
        first=first,
        rows=len(parts),
        prefix=torch.tensor(parts[0].pages[:common]) if common else None,
        pages=torch.tensor(flat),
        segments=segments,
        mask=None if is_whole else _additive(visible).view(len(parts) * segments, 1, 1, -1),
        unseen=None if bool(seen.all()) else _additive(seen.T[:, :, None, None]),
    )


def _visible(newest: list[int], window: int | None, slots: int) -> Tensor:
    """bool [rows, slots]: up to the newest slot of each row, as far back as the window goes."""
    last = torch.tensor(newest)[:, None]
    positions = torch.arange(slots)
    visible = positions <= last
    return visible if window is None else visible & (positions > last - window)


def _additive(visible: Tensor) -> Tensor:
    """0 where True, -inf where False."""
    return torch.zeros(visible.shape).masked_fill_(~visible, -torch.inf)


def _span(chunk: Chunk, window: int | None, heads: int) -> SegmentSpan:
    part, length = chunk.part, len(chunk.part.token_ids)
    page, pages = visible_pages(part, window, SEGMENT_PAGES)
    start = part.start - page * PAGE_SLOTS
    runs = [
        _run(first, min(RUN_QUERIES, length - first), start, window, heads)
        for first in range(0, length, RUN_QUERIES)
    ]
    return SegmentSpan(chunk.offset, length, torch.tensor(pages), tuple(runs))


def _run(first: int, length: int, start: int, window: int | None, heads: int) -> QueryRun:
    """`length` queries from the `first` of a span on, whose own first is at slot `start`."""
    begin, end = start + first, start + first + length
    # Whatever ends before the first query, if the last one still sees the beginning.
    whole = (begin + 1) // SEGMENT_SLOTS if window is None or end <= window else 0
    oldest = 0 if window is None else max(begin + 1 - window, 0) // SEGMENT_SLOTS
    last_page_end = -(-end // PAGE_SLOTS) * PAGE_SLOTS
    near = [
        _near(slot, min(SEGMENT_SLOTS, last_page_end - slot), range(begin, end), window, heads)
        for slot in range(max(whole, oldest) * SEGMENT_SLOTS, end, SEGMENT_SLOTS)
    ]
    return QueryRun(first, length, whole, tuple(near))


def _near(first: int, slots: int, positions: range, window: int | None, heads: int) -> NearSegment:
    """What queries at these slots see of the slots from `first` on."""
    begin = max(first - positions.start, 0)
    end = len(positions)
    if window is not None:
        end = min(first + slots - 1 + window - positions.start, end)
    newest = [position - first for position in positions[begin:end]]
    visible = _visible(newest, window, slots)
    mask = None if bool(visible.all()) else _additive(visible).repeat_interleave(heads, 0)
    return NearSegment(first, slots, begin, end, mask)
