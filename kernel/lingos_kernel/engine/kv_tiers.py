"""The tiers below the device: what is evicted goes down, what is asked for comes up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, repeat
from typing import Protocol

import torch
from torch import Tensor

from lingos_kernel.engine.stat_rows import TierStats
from lingos_kernel.engine.tier import Tier
from lingos_kernel.memory.ledger import PageLedger
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.memory.relief import Prices, Rate

BATCH_PAGES = 64
"""Copied in one piece: enough to pay for the call, few enough to lie in memory twice."""
SAVE_S = 2.0
"""When the engine leaves, what is not copied by then is lost, as any cache may be."""


class PageBytes(Protocol):
    """Pages of a device as raw bytes (`engine.kv_cache.KvCache`)."""

    @property
    def page_bytes(self) -> int:
        """Bytes of one page."""

    def read_pages(self, pages: Sequence[int]) -> Tensor:
        """The bytes of pages: uint8 [len(pages), page_bytes] in host memory."""

    def write_pages(self, pages: Sequence[int], blob: Tensor) -> None:
        """Put them back."""


class _Counts:
    """Pages that a tier took in and gave back."""

    def __init__(self) -> None:
        self.spilled = 0
        self.restored = 0


class KvTiers:
    """Tiers in their order, the fastest first (`memory.tiers.LowerTiers`).

    A page that comes up stays below as well: when it is evicted again there is nothing to copy.
    """

    def __init__(
        self,
        cache: PageBytes,
        tiers: Sequence[Tier],
        prices: Prices,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.prices = prices
        self._cache = cache
        self._tiers = list(tiers)
        self._clock = clock
        self._counts = {tier.name: _Counts() for tier in tiers}
        for tier in tiers:
            prices.down.setdefault(tier.name, Rate())
            prices.up.setdefault(tier.name, Rate())

    def measure(self, pages: Sequence[int]) -> None:
        """Move a few pages down to where they came from, for first prices; changes none.

        What lies beyond host memory is measured when it is first used.
        """
        started_s = self._clock()
        blob = self._cache.read_pages(pages)
        down_s = self._clock() - started_s
        self._cache.write_pages(pages, blob)
        up_s = self._clock() - started_s - down_s
        for tier in self._tiers:
            self.prices.down[tier.name].add(blob.numel(), down_s)
            if not tier.outlives_engine:
                self.prices.up[tier.name].add(blob.numel(), up_s)

    @property
    def stats(self) -> tuple[TierStats, ...]:
        """What is where."""
        return tuple(
            TierStats(
                name=tier.name,
                off_reason=tier.off_reason,
                total_bytes=tier.total_bytes,
                used_bytes=len(tier) * self._cache.page_bytes,
                pages=len(tier),
                spilled_pages=self._counts[tier.name].spilled,
                restored_pages=self._counts[tier.name].restored,
                hit_tokens=self._counts[tier.name].restored * PAGE_SLOTS,
                down_bytes_per_s=self.prices.down[tier.name].per_s or 0.0,
                up_bytes_per_s=self.prices.up[tier.name].per_s or 0.0,
            )
            for tier in self._tiers
        )

    def is_spill_cheaper(self) -> bool:
        """Whether a page had better go down, and up again, than be computed again."""
        first = self._first()
        if first is None:
            return False
        return self.prices.is_round_trip_cheaper(first.name, self._cache.page_bytes, PAGE_SLOTS)

    def lower(self, keys: Sequence[bytes], pages: Sequence[int], priority: int) -> None:
        """Take in consecutive pages that are about to be freed, if that is worth its time."""
        first = self._first()
        if first is None:
            return
        there = [key for key in keys if key in first]
        for key in reversed(there):
            first.touch(key, priority)
        missing = [(k, page) for k, page in zip(keys, pages, strict=True) if k not in first]
        if missing and self.is_spill_cheaper():
            self._take(first, missing, priority)

    def find(self, keys: Sequence[bytes], priority: int) -> int:
        """How many of the first of these pages are here and cheaper to fetch than to compute."""
        is_cheaper: dict[str, bool] = {}
        homes: list[tuple[bytes, Tier]] = []
        for key in keys:
            home = self._home(key)
            if home is None:
                break
            if home.name not in is_cheaper:
                is_cheaper[home.name] = self.prices.is_up_cheaper(
                    home.name, self._cache.page_bytes, PAGE_SLOTS
                )
            if not is_cheaper[home.name]:
                break
            homes.append((key, home))
        for key, home in reversed(homes):  # so that the beginning of a prefix goes last
            home.touch(key, priority)
        return len(homes)

    def restore(self, keys: Sequence[bytes], pages: Sequence[int]) -> int:
        """Fill device pages with what `find` found; how many of the first could be read."""
        done = 0
        for home, run in groupby(keys, self._home):
            count = len(list(run))
            if home is None:
                break
            read = self._bring_up(home, keys[done : done + count], pages[done : done + count])
            done += read
            if read < count:
                break
        return done

    def clear(self) -> None:
        """Forget everything."""
        for tier in self._tiers:
            tier.clear()

    def flush(self) -> None:
        """Wait until all that went down is where it shall be."""
        for tier in self._tiers:
            tier.flush()

    def close(self, ledger: PageLedger) -> None:
        """Leave; as much as possible of what is cached goes where it outlives the engine."""
        keeper = next((t for t in self._tiers if t.outlives_engine and not t.off_reason), None)
        if keeper is not None:
            self._save(keeper, ledger)
        for tier in self._tiers:
            tier.close()

    def check_integrity(self) -> None:
        """Assert that the tiers' books are right."""
        for tier in self._tiers:
            tier.check_integrity()

    def _home(self, key: bytes) -> Tier | None:
        """The fastest tier that has the page."""
        return next((tier for tier in self._tiers if key in tier), None)

    def _first(self) -> Tier | None:
        return next((tier for tier in self._tiers if not tier.off_reason), None)

    def _take(self, tier: Tier, missing: list[tuple[bytes, int]], priority: int) -> None:
        """Copy pages down, from the last to the first, so that the beginning goes last."""
        level = self._tiers.index(tier)
        for end in range(len(missing), 0, -BATCH_PAGES):
            batch = missing[max(end - BATCH_PAGES, 0) : end]
            started_s = self._clock()
            blob = self._cache.read_pages([page for _, page in batch])
            for (key, _), row in zip(reversed(batch), reversed(list(blob)), strict=True):
                self._put(level, key, row, priority)
            self.prices.down[tier.name].add(blob.numel(), self._clock() - started_s)

    def _put(self, level: int, key: bytes, row: Tensor, priority: int) -> None:
        """Give a page to the first tier from the level on that takes it."""
        for below, tier in enumerate(self._tiers[level:], level + 1):
            if key in tier:
                tier.touch(key, priority)
                return
            if tier.put(key, row, priority, partial(self._put, below)):
                self._counts[tier.name].spilled += 1
                return

    def _save(self, keeper: Tier, ledger: PageLedger) -> None:
        """Copy what is on the device, and then what is in other tiers, the most urgent first."""
        deadline_s = self._clock() + SAVE_S
        most = keeper.total_bytes // self._cache.page_bytes
        saved: list[tuple[bytes, int]] = []
        for key, row, priority in self._all_rows(keeper, ledger):
            left_s = deadline_s - self._clock()
            if left_s < 0 or len(saved) >= most:
                break
            if key in keeper:
                keeper.touch(key, priority)
            elif not keeper.put(key, row, priority, _forget):
                keeper.flush(left_s)  # too much is unwritten, if it is not the disk that failed
                keeper.put(key, row, priority, _forget)
            saved.append((key, priority))
        keeper.flush(max(deadline_s - self._clock(), 0.0))
        for key, priority in reversed(saved):  # what matters most counts as used last
            if key in keeper:
                keeper.touch(key, priority)

    def _all_rows(self, keeper: Tier, ledger: PageLedger) -> Iterator[tuple[bytes, Tensor, int]]:
        """All pages above the keeper; the bytes of those that it has already are left out."""
        nothing = torch.empty(0, dtype=torch.uint8)
        for run in ledger.runs():
            for start in range(0, len(run.keys), BATCH_PAGES):
                keys = run.keys[start : start + BATCH_PAGES]
                if all(key in keeper for key in keys):
                    rows: Iterable[Tensor] = repeat(nothing, len(keys))
                else:
                    rows = self._cache.read_pages(run.pages[start : start + BATCH_PAGES])
                yield from ((key, row, run.priority) for key, row in zip(keys, rows, strict=True))
        for tier in self._tiers[: self._tiers.index(keeper)]:
            for key, priority in tier.ranked():
                row = tier.get(key)
                if row is not None:
                    yield key, row, priority

    def _bring_up(self, tier: Tier, keys: Sequence[bytes], pages: Sequence[int]) -> int:
        """Copy pages up; how many of the first could be read."""
        done = 0
        while done < len(keys):
            started_s = self._clock()
            rows = _readable(tier, keys[done : done + BATCH_PAGES])
            if rows:
                self._cache.write_pages(pages[done : done + len(rows)], _stack(rows))
            size = len(rows) * self._cache.page_bytes
            self.prices.up[tier.name].add(size, self._clock() - started_s)
            done += len(rows)
            if len(rows) < BATCH_PAGES:
                break
        self._counts[tier.name].restored += done
        return done


def _stack(rows: list[Tensor]) -> Tensor:
    """The rows in one piece, which is pinned if they are: a GPU copies from it at full speed."""
    size = (len(rows), *rows[0].shape)
    blob = torch.empty(size, dtype=torch.uint8, pin_memory=rows[0].is_pinned())
    return torch.stack(rows, out=blob)


def _readable(tier: Tier, keys: Sequence[bytes]) -> list[Tensor]:
    """The first of these pages that can be read."""
    rows: list[Tensor] = []
    for key in keys:
        row = tier.get(key)
        if row is None:
            break
        rows.append(row)
    return rows


def _forget(key: bytes, row: Tensor, priority: int) -> None:
    """Below the last tier there is nothing."""
