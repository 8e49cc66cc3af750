"""Pages go down the tiers, come up again, outlive the engine; a failing disk harms nobody."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lingos_kernel.engine import disk_tier as disk_module
from lingos_kernel.engine.disk_tier import DiskTier
from lingos_kernel.engine.host_tier import HostTier
from lingos_kernel.engine.kv_tiers import KvTiers
from lingos_kernel.engine.tier import Tier
from lingos_kernel.memory.ledger import PageLedger
from lingos_kernel.memory.prefix_keys import PrefixKeys
from lingos_kernel.memory.relief import Prices

PAGE_BYTES = 4096
PAGES = 8
SLOTS = 2


class Device:
    """Pages in a plain tensor."""

    page_bytes = PAGE_BYTES

    def __init__(self) -> None:
        self.pages = torch.zeros((PAGES, PAGE_BYTES), dtype=torch.uint8)

    def read_pages(self, pages: Sequence[int]) -> Tensor:
        """A copy of them."""
        return self.pages[list(pages)]

    def write_pages(self, pages: Sequence[int], blob: Tensor) -> None:
        """Put back."""
        self.pages[list(pages)] = blob


class Rig:
    """A ledger over tiers, with a clock that stands still unless told."""

    def __init__(self, *tiers: Tier) -> None:
        self.device = Device()
        self.now_s = 0.0
        self.tiers = KvTiers(self.device, tiers, Prices(), clock=lambda: self.now_s)
        self.ledger = PageLedger(PAGES, page_slots=SLOTS, keys=PrefixKeys("m"), tiers=self.tiers)

    def compute(self, tokens: list[int], namespace: str = "", priority: int = 0) -> int:
        """Run a prompt: how many of its pages were found, checked for their contents."""
        holding = self.ledger.open(namespace, tokens, len(tokens), priority=priority)
        found = holding.cached_pages
        for index in range(found):
            assert torch.equal(self.device.pages[holding.pages[index]], content(tokens, index))
        for index in range(found, len(tokens) // SLOTS):
            self.device.pages[holding.pages[index]] = content(tokens, index)
        self.ledger.commit(holding, tokens, len(tokens))
        self.ledger.close(holding)
        self.ledger.check_integrity([])
        return found

    def crowd_out(self) -> None:
        """Take all pages of the device."""
        holding = self.ledger.open("", [99] * SLOTS * PAGES, SLOTS * PAGES)
        self.ledger.close(holding)

    def spilled(self) -> dict[str, int]:
        """Pages that each tier took in."""
        return {tier.name: tier.spilled_pages for tier in self.tiers.stats}


def content(tokens: list[int], index: int) -> Tensor:
    """What a page holds when it was computed from these tokens."""
    upto = tokens[: (index + 1) * SLOTS]
    seed = hash(tuple(upto)) % 2**31
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (PAGE_BYTES,), generator=generator, dtype=torch.uint8)


def host(pages: int) -> HostTier:
    """Host memory for so many pages."""
    return HostTier(page_bytes=PAGE_BYTES, limit_bytes=pages * PAGE_BYTES, is_pinned=False)


@pytest.fixture
def disk(tmp_path: Path) -> Callable[..., DiskTier]:
    """`disk(pages=8)` opens the folder for so many pages; the file grows page by page."""

    def open_disk(pages: int = 8, identity: str = "m") -> DiskTier:
        return DiskTier(
            tmp_path / "kv",
            identity=identity,
            page_bytes=PAGE_BYTES,
            limit_bytes=pages * PAGE_BYTES,
        )

    return open_disk


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_GROW_BYTES", "GROW_BYTES"):
        monkeypatch.setattr(disk_module, name, PAGE_BYTES)


PROMPT = [1, 2, 3, 4, 5, 6, 7]


def test_an_evicted_prefix_comes_back_from_host_memory() -> None:
    """Bit for bit, and without being copied down a second time."""
    rig = Rig(host(4))
    assert rig.compute(PROMPT) == 0
    for _ in range(2):
        rig.crowd_out()
        assert rig.compute(PROMPT) == 3
    assert rig.spilled() == {"host": 3}
    (stats,) = rig.tiers.stats
    assert stats.restored_pages == 6
    assert stats.used_bytes == 3 * PAGE_BYTES
    assert rig.compute(PROMPT, "other") == 0


def test_what_the_host_has_no_room_for_goes_to_the_disk(disk: Callable[..., DiskTier]) -> None:
    """A long prefix comes back from two tiers at once."""
    rig = Rig(host(2), disk())
    rig.compute(PROMPT)
    rig.crowd_out()
    assert rig.compute(PROMPT) == 3
    restored = {tier.name: tier.restored_pages for tier in rig.tiers.stats}
    assert restored == {"host": 2, "disk": 1}
    rig.tiers.close(rig.ledger)


def test_a_prefix_outlives_the_engine(disk: Callable[..., DiskTier]) -> None:
    """What the device and the host hold when the engine leaves is found by the next one."""
    rig = Rig(host(2), disk())
    rig.compute([8, 8, 9])
    rig.crowd_out()
    rig.compute(PROMPT)
    rig.tiers.close(rig.ledger)
    after = Rig(disk())
    assert after.compute(PROMPT) == 3
    assert after.compute([8, 8, 9]) == 1
    assert after.compute(PROMPT, "red") == 0
    after.tiers.close(after.ledger)
    assert Rig(disk(identity="other weights")).compute(PROMPT) == 0


def test_a_small_disk_keeps_the_urgent_and_the_beginnings(disk: Callable[..., DiskTier]) -> None:
    """When not all can be saved, less urgent work goes first, and the ends of prefixes."""
    rig = Rig(disk(4))
    rig.compute([5, 5, 6, 6, 7], priority=5)
    rig.compute(PROMPT, priority=0)
    rig.tiers.close(rig.ledger)
    after = Rig(disk(4))
    assert after.compute(PROMPT) == 3
    assert after.compute([5, 5, 6, 6, 7]) == 1
    after.tiers.close(after.ledger)


def test_moving_that_takes_longer_than_computing_is_left_out() -> None:
    """Pages go neither down nor up once the rates are known to be worse."""
    rig = Rig(host(4))
    rig.compute(PROMPT)
    rig.tiers.prices.prefill.add(1e9, 1.0)
    rig.tiers.prices.down["host"].add(1.0, 1.0)
    rig.crowd_out()
    assert rig.spilled() == {"host": 0}
    assert rig.compute(PROMPT) == 0


def test_a_damaged_page_is_computed_again(
    disk: Callable[..., DiskTier], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What its checksum does not fit is dropped; what came before it is used."""
    rig = Rig(disk())
    rig.compute(PROMPT)
    rig.tiers.close(rig.ledger)
    (pages,) = tmp_path.glob("kv/*/pages")
    data = bytearray(pages.read_bytes())
    third = bytes(content(PROMPT, 2).tolist())
    data[data.index(third)] ^= 1
    pages.write_bytes(data)
    after = Rig(disk())
    assert after.compute(PROMPT) == 2
    assert "damaged" in caplog.text
    assert not after.tiers.stats[0].off_reason
    after.crowd_out()
    assert after.compute(PROMPT) == 3
    after.tiers.close(after.ledger)


def test_a_full_disk_switches_the_tier_off(
    disk: Callable[..., DiskTier],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line in the log and a visible reason; work goes on as without the tier."""

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rig = Rig(disk())
    monkeypatch.setattr(os, "posix_fallocate", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rig.compute(PROMPT)
            rig.crowd_out()
    assert rig.tiers.stats[0].off_reason == "[Errno 28] No space left on device"
    assert len(caplog.records) == 1
    rig.tiers.close(rig.ledger)


def test_a_disk_that_fills_up_later_takes_nothing_more(
    disk: Callable[..., DiskTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that it had no room for is not said to be there."""

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tier, row = disk(), torch.zeros(PAGE_BYTES, dtype=torch.uint8)
    assert tier.put(b"a" * 32, row, 0, lambda *page: None)
    tier.flush()
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not tier.put(b"b" * 32, row, 0, lambda *page: None)
    assert tier.off_reason
    assert len(tier) == 0
    assert tier.unwritten_bytes == 0
    tier.close()


def test_a_write_that_fails_switches_the_tier_off(
    disk: Callable[..., DiskTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the thread behind the engine meets the error."""

    def broken(*arguments: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    rig = Rig(tier := disk())
    monkeypatch.setattr(os, "pwrite", broken)
    rig.compute(PROMPT)
    rig.crowd_out()
    tier.flush()
    assert rig.compute(PROMPT) == 0
    assert "Input/output error" in rig.tiers.stats[0].off_reason
    rig.tiers.close(rig.ledger)


def test_a_folder_that_is_none_switches_the_tier_off(tmp_path: Path) -> None:
    """A file in the folder's place is a reason, not a crash."""
    (tmp_path / "kv").write_text("")
    tier = DiskTier(tmp_path / "kv", identity="m", page_bytes=PAGE_BYTES, limit_bytes=1 << 20)
    assert "exists" in tier.off_reason
    rig = Rig(tier)
    assert rig.compute(PROMPT) == 0
    rig.tiers.close(rig.ledger)


def test_a_folder_in_use_is_left_alone(disk: Callable[..., DiskTier]) -> None:
    """Two engines never write into one file."""
    first, second = disk(), disk()
    assert not first.off_reason
    assert second.off_reason == "its folder is in use"
    first.close()
    second.close()


def test_models_share_the_limit_and_the_oldest_gives_way(
    disk: Callable[..., DiskTier], tmp_path: Path
) -> None:
    """A model that needs room takes it from one that is not in use, never from one that is."""
    old = Rig(disk(4, "old"))
    old.compute(PROMPT)
    old.tiers.close(old.ledger)
    used = Rig(first := disk(4, "used"))
    used.compute([1, 1, 2])
    used.crowd_out()
    first.flush()
    assert sum(1 for _ in tmp_path.glob("kv/*")) == 2
    new = Rig(second := disk(4, "new"))
    new.compute([*PROMPT, 8, 9])
    new.crowd_out()
    second.flush()
    pages = list(tmp_path.glob("kv/*/pages"))
    assert sum(path.stat().st_size for path in pages) == 4 * PAGE_BYTES
    assert new.compute([*PROMPT, 8, 9]) == 3
    assert used.compute([1, 1, 2]) == 1
    new.tiers.close(new.ledger)
    used.tiers.close(used.ledger)
    again = Rig(disk(4, "old"))
    assert again.compute(PROMPT) == 0
    again.tiers.close(again.ledger)


def test_dropping_forgets_on_the_disk_too(disk: Callable[..., DiskTier]) -> None:
    """What is dropped does not come back in the next life."""
    rig = Rig(host(2), disk())
    rig.compute(PROMPT)
    rig.crowd_out()
    rig.ledger.drop_cache()
    assert rig.compute(PROMPT) == 0
    rig.ledger.drop_cache()
    rig.tiers.close(rig.ledger)
    after = Rig(disk())
    assert after.compute(PROMPT) == 0
    after.tiers.close(after.ledger)
