"""Time to the first token of a long prompt: computed, or with its pages from each tier.

    python tests/benchmarks/kv_tiers.py (--store FOLDER | --model FOLDER) [--tokens N] [--rounds N]

Goal: bringing pages up is cheaper than computing their tokens, from every tier. One engine keeps
evicted pages in host memory, another on a disk (whose file the operating system is asked to forget
before each read). Rounds go over all ways in turn; the first tokens are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path

from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.messages import Generate, LoadModel, ModelSpec, Outputs, SamplingParams
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.memory.ledger import PageLedger
from lingos_kernel.models.store import ModelStore

MODEL = "smollm2-135m-instruct"
WAYS = ("cold", "device", "host", "disk")


class Bench:
    """An engine core with one tier, and prompts through it one at a time."""

    def __init__(self, path: Path, *, threads: int, **tier: int | str) -> None:
        self.core = EngineCore(EngineSettings(threads=threads, **tier))  # type: ignore[arg-type]
        self.core.handle(LoadModel(ModelSpec(name="m", path=str(path), kv_bytes=384 << 20)))
        self._count = 0

    @property
    def ledger(self) -> PageLedger:
        """Its pages."""
        decoder = self.core.models["m"].decoder
        assert decoder is not None
        return decoder.roster.ledger

    def first_token(self, prompt: tuple[int, ...]) -> tuple[float, int, int]:
        """Seconds to the first token, which one it is, and how many tokens were cached."""
        self._count += 1
        params = SamplingParams(max_tokens=1, ignore_eos=True)
        begin_s = time.perf_counter()
        self.core.handle(Generate(f"r{self._count}", "m", prompt, params))
        while True:
            for event in self.core.step():
                if isinstance(event, Outputs):
                    seconds = time.perf_counter() - begin_s
                    (output,) = event.outputs
                    assert output.usage is not None
                    return seconds, output.token_ids[0], output.usage.cached_tokens

    def evict(self) -> None:
        """Have the device give up all pages, which go down a tier."""
        self.ledger.tree.evict(self.ledger.tree.evictable_pages)


def forget_files(folder: Path) -> None:
    """Write the files out and ask the operating system to drop them from its memory."""
    for path in folder.glob("*/pages"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def measure(path: Path, *, tokens: int, rounds: int, threads: int, folder: Path) -> None:
    """All ways, round after round; medians and ranges at the end."""
    host = Bench(path, threads=threads, host_kv_bytes=256 << 20)
    disk = Bench(path, threads=threads, disk_kv_bytes=256 << 20, disk_kv_dir=str(folder))
    rng = random.Random(1)
    prompt = tuple(rng.randrange(3, 256) for _ in range(tokens))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    answers, cached = set(), dict.fromkeys(WAYS, 0)

    def note(way: str, result: tuple[float, int, int]) -> None:
        seconds[way].append(result[0])
        answers.add(result[1])
        cached[way] = result[2]

    for number in range(rounds + 1):  # the first one warms up
        host.ledger.drop_cache()
        note("cold", host.first_token(prompt))
        note("device", host.first_token(prompt))
        host.evict()
        note("host", host.first_token(prompt))
        disk.ledger.drop_cache()
        disk.first_token(prompt)
        disk.evict()
        decoder = disk.core.models["m"].decoder
        assert decoder is not None
        assert decoder.tiers is not None
        decoder.tiers.flush()
        forget_files(folder)
        note("disk", disk.first_token(prompt))
        if not number:
            seconds = {way: [] for way in WAYS}
    print(f"prompt of {tokens} tokens, {rounds} rounds, first tokens equal: {len(answers) == 1}")
    for way in WAYS:
        ms = [value * 1000 for value in seconds[way]]
        print(
            f"{way:7} median {statistics.median(ms):8.1f} ms  (from {min(ms):.1f} to {max(ms):.1f})"
            f"  cached tokens {cached[way]}"
        )
    for bench in (host, disk):
        stats = bench.core.models["m"].decoder
        assert stats is not None
        assert stats.tiers is not None
        (tier,) = stats.tiers.stats
        print(
            f"{tier.name} down {tier.down_bytes_per_s / 2**20:.0f} MiB/s,"
            f" up {tier.up_bytes_per_s / 2**20:.0f} MiB/s;"
            f" prefill {stats.prices.prefill.per_s or 0:.0f} tokens/s"
        )


def main() -> None:
    """Read the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", type=Path, help="a model store with the default model")
    where.add_argument("--model", type=Path, help="a model's folder")
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    path = given.model or ModelStore(given.store).resolve(MODEL).path
    with tempfile.TemporaryDirectory() as folder:
        measure(
            path,
            tokens=given.tokens,
            rounds=given.rounds,
            threads=given.threads,
            folder=Path(folder) / "kv",
        )
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
