"""What is special to the SQLite broker: crashes, bad files, sharing a file."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import LingOSError, QueueFull
from lingos_kernel.queue import sqlite_schema as sql
from lingos_kernel.queue.jobs import NewJob
from lingos_kernel.queue.sqlite_broker import SqliteBroker

LIMIT_S = 30.0

WORKER = """
import asyncio, itertools, os, sys
from pathlib import Path
from lingos_kernel.queue.sqlite_broker import SqliteBroker

def tell(text):
    os.write(1, f"{text}\\n".encode())

async def main(path, first):
    broker = SqliteBroker(Path(path))
    await broker.recover("worker")
    async def put():
        for n in itertools.count(first):
            await broker.put("q", str(n).encode(), idempotency_key=str(n), max_attempts=1000)
            tell(f"accepted {n}")
    async def work():
        while True:
            for job in await broker.claim(["q"], "worker", limit=2, visibility_s=3600, wait_s=10):
                tell(f"begun {job.payload.decode()}")
                if await broker.acknowledge(job):
                    tell(f"done {job.payload.decode()}")
    await asyncio.gather(put(), work())

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def run_until_killed(path: Path, first: int, lines: int) -> list[tuple[str, int]]:
    """What a worker told before it was killed with -9, after about so many lines."""
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), str(first)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if len(told) == lines:
                process.kill()  # SIGKILL; what it still told before it died is read to the end
    assert process.returncode == -9
    return [(word.decode(), int(n)) for word, n in (line.split() for line in told)]


async def test_kill_9_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Killed many times in the middle: each accepted job is done, each acknowledged once.

    The putter goes on with the number after the last accepted one. The put that was cut off may or
    may not have been accepted; its idempotency key makes the second try harmless.
    """
    path = tmp_path / "jobs.db"
    told: list[tuple[str, int]] = []
    accepted = 0
    for seed in range(10):
        lines = random.Random(seed).randrange(20, 400)
        told += run_until_killed(path, accepted, lines)
        accepted = max((n + 1 for word, n in told if word == "accepted"), default=0)
    broker = SqliteBroker(path)
    await broker.recover("worker")
    while jobs := await broker.claim(["q"], "last", limit=100):
        for job in jobs:
            told.append(("begun", int(job.payload)))
            assert await broker.acknowledge(job)
            told.append(("done", int(job.payload)))
    assert await broker.stats() == []
    await broker.close()
    begun = Counter(n for word, n in told if word == "begun")
    done = Counter(n for word, n in told if word == "done")
    assert accepted > 100
    assert set(range(accepted)) <= set(begun), "an accepted job was lost"
    assert set(done.values()) == {1}, "a job was acknowledged twice"
    # An acknowledgement may have been accepted just before the kill, and not told any more.
    assert len(set(begun) - set(done)) <= 10 * 2
    # A job is begun again only if the kill came between its beginning and its acknowledgement.
    assert sum(begun.values()) - len(begun) <= 10 * 2
    with sqlite3.connect(path) as connection:
        keys = connection.execute("SELECT idempotency_key FROM jobs").fetchall()
    connection.close()
    assert len(keys) == len(set(keys)) == len(begun)


async def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Brokers on one file (as two processes have) never hand out a job twice."""
    brokers = [SqliteBroker(tmp_path / "jobs.db") for _ in range(2)]
    await brokers[0].put_many([NewJob("q", b"%d" % n) for n in range(200)])
    done: list[bytes] = []

    async def work(broker: SqliteBroker, worker: str) -> None:
        while jobs := await broker.claim(["q"], worker, limit=4):
            for job in jobs:
                assert await broker.acknowledge(job)
                done.append(job.payload)

    await asyncio.gather(*(work(broker, f"w{n}") for n, broker in enumerate(brokers * 2)))
    assert sorted(done, key=int) == [b"%d" % n for n in range(200)]
    for broker in brokers:
        await broker.close()


async def test_a_waiting_claim_notices_another_process(tmp_path: Path) -> None:
    """Within a second or so, without being told."""
    waiting, other = (SqliteBroker(tmp_path / "jobs.db") for _ in range(2))
    claim = asyncio.create_task(waiting.claim(["q"], "w", wait_s=LIMIT_S))
    await asyncio.sleep(0)
    await other.put("q", b"")
    assert len(await claim) == 1
    await waiting.close()
    await other.close()


async def test_a_put_that_fails_spoils_no_other(tmp_path: Path) -> None:
    """Operations that share a transaction with a faulty one are done all the same."""
    broker = SqliteBroker(tmp_path / "jobs.db")
    puts = [broker.put("q", b"%d" % n) for n in range(5)]
    wrong = broker.put("q", {"not": "bytes"})  # type: ignore[arg-type]
    outcomes = await asyncio.gather(*puts, wrong, *[broker.put("q", b"x")], return_exceptions=True)
    assert [isinstance(outcome, str) for outcome in outcomes] == [True] * 5 + [False] + [True]
    assert len(await broker.claim(["q"], "w", limit=10)) == 6
    await broker.close()


async def test_a_full_disk_is_told_and_mended(tmp_path: Path) -> None:
    """A put for which there is no room fails with DiskFull; with room again, the next is fine."""
    broker = SqliteBroker(tmp_path / "jobs.db")
    await broker.put("q", b"first")

    async def limit_pages(pages: int) -> None:
        def limit(connection: sqlite3.Connection) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await broker._writer.run(limit)

    await limit_pages(1)
    with pytest.raises(LingOSError, match="no room for the job store") as caught:
        await broker.put("q", b"x" * 1_000_000)
    assert caught.value.code == "disk_full"
    await limit_pages(1_000_000)
    await broker.put("q", b"second")
    assert [job.payload for job in await broker.claim(["q"], "w", limit=9)] == [b"first", b"second"]
    await broker.close()


async def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    """Garbage, a newer version, a folder in the way: an error that names the file."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database" * 1000)
    with pytest.raises(LingOSError, match=r"garbage\.db failed: file is not a database"):
        SqliteBroker(garbage)
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LingOSError, match="another version"):
        SqliteBroker(newer)
    with pytest.raises(LingOSError, match="failed"):
        SqliteBroker(garbage / "below" / "jobs.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(LingOSError, match="directory"):
        SqliteBroker(tmp_path / "folder.db")


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
async def test_durability_sets_synchronous(tmp_path: Path, durability: Any, level: int) -> None:
    """process: NORMAL; power: FULL, with one fsync per transaction. Both in WAL mode."""
    broker = SqliteBroker(tmp_path / "jobs.db", durability=durability)

    def pragmas(connection: sqlite3.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await broker._writer.run(pragmas) == ["wal", level]
    await broker.close()


async def test_hot_statements_read_no_whole_table(tmp_path: Path) -> None:
    """Claims, acknowledgements and what is due go by an index, however many jobs there are."""
    broker = SqliteBroker(tmp_path / "jobs.db")

    def plans(connection: sqlite3.Connection) -> dict[str, list[str]]:
        found = {}
        for statement in (
            sql.claim(2),
            sql.FIND_BY_KEY,
            sql.DELETE_HELD,
            sql.FAIL_HELD,
            sql.LOSE_DUE,
            sql.EXPIRE_DUE,
            sql.WAKE_DUE,
            sql.NEXT_DUE,
            sql.FORGET_KEYS,
            sql.DEAD_LETTERS,
        ):
            values = [1] * statement.count("?")
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            found[statement] = [row[3] for row in rows]
        return found

    for statement, steps in (await broker._writer.run(plans)).items():
        touching = [step for step in steps if "jobs" in step]
        assert touching
        assert all(step.startswith("SEARCH jobs USING") for step in touching), (statement, steps)
    await broker.close()


async def test_room_is_noticed_that_another_process_made(tmp_path: Path) -> None:
    """A full queue is counted again, at most once a second."""
    now_s = 1000.0
    options: dict[str, Any] = {"bound": 1, "clock": lambda: now_s}
    putter, other = (SqliteBroker(tmp_path / "jobs.db", **options) for _ in range(2))
    await putter.put("q", b"")
    (job,) = await other.claim(["q"], "w")
    assert await other.acknowledge(job)
    with pytest.raises(QueueFull):
        await putter.put("q", b"")
    now_s += 1
    await putter.put("q", b"")
    await putter.close()
    await other.close()


def test_the_benchmark_runs() -> None:
    """tests/benchmarks/durable_queue.py measures and prints, here with a few jobs only."""
    script = Path(__file__).parents[3] / "benchmarks" / "durable_queue.py"
    output = subprocess.run(
        [sys.executable, str(script), "--jobs", "40", "--rounds", "1"],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    ).stdout
    assert output.count("median") == 8
    assert "load" in output
