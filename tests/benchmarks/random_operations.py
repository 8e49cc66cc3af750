"""Random operations on a real kernel while things break: nothing hangs, is lost, doubled or leaks.

    python tests/benchmarks/random_operations.py [--operations 10000] [--seed 1] [--clients 8]

Real clients call a kernel process over its socket: its engine is a process with a tiny random
model. Meanwhile the engine is killed and stopped, handlers and hooks raise, clients vanish in the
middle of answers, the disk is full (the kernel's files lie on a small disk of their own where this
user may mount one; else no file may grow), the machine's clock is set an hour ahead and back, and
the kernel itself is killed and started again. What is chosen depends on the seed alone.

Printed are the operations by outcome, and everything that was not as promised. Exits with 1 then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import psutil
from random_calls import (
    EFFECTS,
    OPERATIONS,
    QUEUE,
    Actor,
    Ledger,
    Scene,
    choose,
    end_claim,
)

from lingos_kernel.client.http import HttpClient
from lingos_kernel.errors import KernelUnavailable, LingOSError

HUNG_S = 120.0
"""After this long an operation counts as hung; its calls end after a sixth of it."""
QUIET_S = 60.0
"""How long what is left of the last operations may take to go."""
DISK_BYTES = 48 << 20
GROWTH_BYTES = 64 << 20
"""How much more memory a process may have at the end than after the first third."""
LEAST_WEIGHED = 3
"""Medians of fewer weighings may be those of an engine that is still starting."""
LEAVES = 0.07
"""Share of operations whose client vanishes in the middle."""
EXPECTED_FAILURES = ("told to fail", "SystemExit: 3", "KeyboardInterrupt", "GeneratorExit")
HOUR_S = 3600.0


class ServedKernel:
    """The kernel's process, over its lives."""

    def __init__(self, home: Path, log: Path) -> None:
        self.home = home
        self.socket = home / "k.sock"
        self.up = asyncio.Event()
        self.shift_s = 0.0
        self.is_disk_full = False
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def os_pid(self) -> int:
        """The pid of its present life."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and return when it takes calls."""
        here = str(Path(__file__).parent)
        environ = os.environ | {
            "LINGOS_HOME": str(self.home / "disk"),
            "LINGOS_MODELS_STORE": str(self.home / "store"),
            "LINGOS_MODELS_DEFAULT": "tiny",
            "LINGOS_LOAD_PLUGINS": "",
            "LINGOS_ENGINE_THREADS": "1",
            "LINGOS_ENGINE_DEVICE": "cpu",
            "LINGOS_ENGINE_KV_BYTES": str(2 << 20),
            "CLOCK_SHIFT_S": str(self.shift_s),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, f"{here}/random_kernel.py", str(self.socket)],
                env=environ, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(HUNG_S):
            while not await self._is_ready():
                assert self._process.poll() is None, f"the kernel ended, see {self._log}"
                await asyncio.sleep(0.05)
        self.up.set()

    async def _is_ready(self) -> bool:
        with contextlib.suppress(KernelUnavailable):
            async with HttpClient(self.socket) as client:
                return bool((await client.ping())["ready"])
        return False

    async def kill(self) -> None:
        """End it as kill -9 does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to leave; its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> int:
        assert self._process is not None
        self.up.clear()
        self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, HUNG_S)

    def fill_disk(self) -> None:
        """Leave no room on its disk, or let its files grow no more."""
        self.is_disk_full = True
        if not os.path.ismount(self.home / "disk"):
            hard = psutil.Process(self.os_pid).rlimit(resource.RLIMIT_FSIZE)[1]
            psutil.Process(self.os_pid).rlimit(resource.RLIMIT_FSIZE, (0, hard))
            return
        with (self.home / "disk/filler").open("wb", buffering=0) as filler:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(b"\0" * size)

    def free_disk(self) -> None:
        """Make room again."""
        self.is_disk_full = False
        (self.home / "disk/filler").unlink(missing_ok=True)
        if not os.path.ismount(self.home / "disk"):
            hard = psutil.Process(self.os_pid).rlimit(resource.RLIMIT_FSIZE)[1]
            psutil.Process(self.os_pid).rlimit(resource.RLIMIT_FSIZE, (hard, hard))


class Trial:
    """One run: operations by number, faults in between, and what came of it."""

    def __init__(self, kernel: ServedKernel, *, seed: int, operations: int, clients: int) -> None:
        self.kernel = kernel
        self.seed = seed
        self.operations = operations
        self.clients = clients
        self.scene = Scene([], Ledger())
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.odd: Counter[str] = Counter()
        """Errors that should not come while nothing is broken."""
        self.faults: Counter[str] = Counter()
        self.memory: list[tuple[int, int]] = []
        """Bytes of kernel and engine over the last life."""
        self.slowest: tuple[float, str] = (0.0, "")
        self._number = 0

    async def run(self) -> None:
        """Everything, in order."""
        await self.kernel.start()
        self.scene.actors = [Actor(HttpClient(self.kernel.socket)) for _ in range(self.clients)]
        try:
            for actor in self.scene.actors:
                await actor.http.__aenter__()
                await actor.open()
            await self._warm_up()
            before = await self._quiet()
            plan = self._plan()
            await asyncio.gather(*(self._work(actor, plan) for actor in self.scene.actors))
            await self._settle_promises()
            await self._clean()
            self._compare(before, await self._quiet(before))
        finally:
            for actor in self.scene.actors:
                await actor.http.__aexit__(None, None, None)
        await self._stop()

    async def _warm_up(self) -> None:
        """Use everything once, so that what is made once is there before the first look."""
        me = self.scene.actors[0]
        for name, arguments in (
            ("llm.complete", {"prompt": "a b"}),
            ("llm.embed", {"texts": ["a"], "model": "tiny"}),
            ("chaos.sleep", {"seconds": 0}),
        ):
            await me.call(name, **arguments)

    # Operations

    def _plan(self) -> dict[int, str]:
        """Which fault comes before which operation; none takes another's place."""
        rng = Random(f"faults:{self.seed}")
        plan: dict[int, str] = {}
        last_life = self.operations * 3 // 5
        for fault, each, until in (
            ("engine killed", 250, self.operations),
            ("engine stopped", 1500, self.operations),
            ("disk full", 600, self.operations),
            ("clock set", 400, self.operations),
            ("kernel killed", 1200, last_life),
        ):
            for _ in range(max(1, self.operations // each)):
                free = [n for n in range(self.operations // 10, until) if n not in plan]
                plan[rng.choice(free)] = fault
        return plan

    async def _work(self, actor: Actor, plan: dict[int, str]) -> None:
        """Take the next operation until there are none."""
        while (number := self._number) < self.operations:
            self._number += 1
            if fault := plan.get(number):
                await self._break(fault, Random(f"{self.seed}:{number}:fault"), actor)
            await self.kernel.up.wait()
            if number % 50 == 0:
                self._weigh()
            await self._try(actor, number)
            if number % 500 == 499:
                print(f"{number + 1} operations", file=sys.stderr, flush=True)

    async def _try(self, actor: Actor, number: int) -> None:
        rng = Random(f"{self.seed}:{number}")
        name = choose(rng)
        leaves_s = rng.random() ** 3 * 2 if rng.random() < LEAVES else None
        begun_s = time.monotonic()
        task = asyncio.ensure_future(OPERATIONS[name][1](self.scene, rng, actor, number))
        if leaves_s is not None:
            asyncio.get_running_loop().call_later(leaves_s, task.cancel)
        await asyncio.wait([task], timeout=HUNG_S)
        outcome = self._outcome(task, f"{name} (operation {number})")
        took_s = time.monotonic() - begun_s
        self.slowest = max(self.slowest, (took_s, f"{name}: {outcome}"))
        self.outcomes[name, outcome] += 1
        if outcome == "unknown_process":
            with contextlib.suppress(LingOSError):
                await actor.open()

    def _outcome(self, task: asyncio.Future[Any], what: str) -> str:
        if not task.done():
            task.cancel()
            self.wrong.append(f"hung: {what}")
            return "hung"
        if task.cancelled():
            return "client gone"
        error = task.exception()
        if error is None:
            return "result"
        if not isinstance(error, LingOSError):
            self.wrong.append(f"{what} raised {error!r}")
            return "bug"
        expected = any(words in error.message for words in EXPECTED_FAILURES)
        if error.code in ("syscall_failed", "error", "engine", "internal") and not expected:
            self.odd[f"{what.split(' (')[0]}: {error.code}: {error.message[:160]}"] += 1
        return error.code

    # Faults

    async def _break(self, fault: str, rng: Random, actor: Actor) -> None:
        await self.kernel.up.wait()
        self.faults[fault] += 1
        match fault:
            case "engine killed" | "engine stopped":
                if fault == "engine stopped":  # one that is still starting has two minutes for it
                    with contextlib.suppress(LingOSError):
                        await actor.call("llm.complete", prompt="a", max_tokens=1)
                number = signal.SIGKILL if fault == "engine killed" else signal.SIGSTOP
                for child in psutil.Process(self.kernel.os_pid).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(number)
            case "disk full":
                self.kernel.fill_disk()
                asyncio.get_running_loop().call_later(rng.random() * 2, self._free_disk)
            case "clock set":
                shift_s = rng.choice([HOUR_S, -HOUR_S])
                with contextlib.suppress(LingOSError):
                    self.kernel.shift_s = await actor.call("chaos.clock", shift_s=shift_s)
            case "kernel killed":
                await self.kernel.kill()
                self._free_disk()
                self.memory.clear()
                await self.kernel.start()

    def _free_disk(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.kernel.free_disk()

    def _weigh(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel = psutil.Process(self.kernel.os_pid)
            engine = sum(child.memory_info().rss for child in kernel.children())
            self.memory.append((kernel.memory_info().rss, engine))

    # The end

    async def _settle_promises(self) -> None:
        """Let all that was accepted come to its end, and compare it with the ledger."""
        self._free_disk()
        me, ledger = self.scene.actors[0], self.scene.ledger
        await me.open()
        await self._check_jobs(me)
        await self._drain(me, QUEUE, lambda job: end_claim(ledger, me, job, 0.0))
        dead = {letter["payload"] for letter in await me.call("mq.dead", queue=QUEUE, limit=10_000)}
        ended = set(ledger.done) | dead
        for message in ledger.put - ended:
            self.wrong.append(f"lost: message {message}")
        for message in set(ledger.done) & dead | {m for m, n in ledger.done.items() if n > 1}:
            self.wrong.append(f"doubled: message {message}")
        for message in ledger.again:
            self.wrong.append(f"given out after it was acknowledged: message {message}")
        for message in ended - ledger.put - ledger.tried:
            self.wrong.append(f"refused, but there all the same: message {message}")
        if ledger.unfound:
            self.wrong.append(f"{ledger.unfound} deadlocks were not found")

    async def _check_jobs(self, me: Actor) -> None:
        ledger = self.scene.ledger
        states: dict[str, dict[str, Any]] = {}
        for job_id in ledger.jobs:
            with contextlib.suppress(LingOSError):
                await me.call("job.result", job_id=job_id, wait_s=15)
            states[job_id] = await me.call("job.show", job_id=job_id)
        effects: Counter[int] = Counter()

        async def count(job: dict[str, Any]) -> None:
            effects[job["payload"]] += (await me.call("mq.acknowledge", job=job))["held"]

        await self._drain(me, EFFECTS, count)
        for job_id, (kind, number) in ledger.jobs.items():
            state = states[job_id]["state"]
            if state not in ("done", "failed", "cancelled"):
                self.wrong.append(f"job {job_id} ({kind}) is {state}")
            elif kind == "fail" and state == "done":
                self.wrong.append(f"job {job_id} is done, but it raises")
            elif state == "failed" and not states[job_id]["error"]:
                self.wrong.append(f"job {job_id} has failed without a reason")
            if state == "failed" and kind not in ("fail",):
                self.odd[f"job {kind}: {states[job_id]['error']['message'][:160]}"] += 1
            wanted = {"done": [1], "cancelled": [0, 1]}.get(state, [0, 1])
            if kind == "effect" and effects[number] not in wanted:
                self.wrong.append(f"job {job_id} is {state}, with {effects[number]} effects")
            if kind == "turn":
                await self._check_turn(me, job_id, number, state)

    async def _check_turn(self, me: Actor, job_id: str, number: int, state: str) -> None:
        shown = await me.call("ctx.show", name=f"job-{number}")
        words = "".join(str(message["content"]) for message in shown["messages"])
        wanted = [1] if state == "done" else [0, 1]
        if words.count(f"<{number}>") not in wanted:
            self.wrong.append(f"job {job_id} is {state}; its context holds {words[:200]!r}")
        await me.call("ctx.remove", name=f"job-{number}")

    async def _drain(
        self, me: Actor, queue: str, end: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """Claim until nothing is left of a queue."""
        async with asyncio.timeout(HUNG_S):
            while True:
                for job in await me.call("mq.claim", queues=[queue], limit=100, wait_s=1):
                    await end(job)
                rows = {row["name"]: row for row in await me.call("mq.queues")}
                row = rows.get(f"jobs:{queue}")
                if row is None or row["depth"] + row["consumers"] == 0:
                    return

    async def _clean(self) -> None:
        """Read all contexts, and end what still lasts: processes, and the clients' own."""
        me = self.scene.actors[0]
        for head in await me.call("ctx.list"):
            await me.call("ctx.show", name=head["name"])
        for actor in self.scene.actors:
            await actor.open()
        own = {actor.pid for actor in self.scene.actors}
        for row in await me.call("proc.list"):
            if row["kind"] in ("session", "agent", "job") and row["pid"] not in own:
                with contextlib.suppress(LingOSError):
                    await me.call("proc.close", pid=row["pid"])

    async def _quiet(self, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is there once nothing is left to go, or when the time for it is over."""
        me = self.scene.actors[0]
        until_s = time.monotonic() + QUIET_S
        while True:
            now: dict[str, Any] = await me.call("chaos.inventory")
            is_quiet = not self._left(before or now, now)
            if is_quiet or time.monotonic() > until_s:
                return now
            await asyncio.sleep(0.25)

    def _compare(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        for name, value in self._left(before, after).items():
            self.wrong.append(f"leaked: {name}: {value}")
        third = self.memory[len(self.memory) // 3 :]
        for who, index in (("kernel", 0), ("engine", 1)):
            sizes = [size[index] for size in third if size[index]]
            few = len(sizes) // 3
            if few < LEAST_WEIGHED:
                continue
            begin, end = (statistics.median(part) for part in (sizes[:few], sizes[-few:]))
            if end - begin > GROWTH_BYTES:
                self.wrong.append(f"the {who} grew from {begin:.0f} to {end:.0f} bytes")

    def _left(self, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """What is there and was not there before."""
        left: dict[str, Any] = {}
        for name in ("threads", "files", "tasks"):
            more = Counter(now[name]) - Counter(before[name])
            more = {key: n for key, n in more.items() if n > _coming_and_going(key)}
            if more:
                left[name] = more
        if len(now["children"]) > 1:
            left["children"] = now["children"]
        actors = len(self.scene.actors)
        if len(now["processes"]) > actors:
            left["processes"] = now["processes"]
        for name in ("calls", "strays", "sequences", "pages_used", "locks", "owed", "topics"):
            if now[name]:
                left[name] = now[name]
        if len(now["mailboxes"]) > actors:
            left["mailboxes"] = now["mailboxes"]
        return left

    async def _stop(self) -> None:
        begun_s = time.monotonic()
        children = psutil.Process(self.kernel.os_pid).children(recursive=True)
        status = await self.kernel.stop()
        if status:
            self.wrong.append(f"the kernel ended with exit status {status}")
        for child in psutil.wait_procs(children, timeout=10)[1]:
            self.wrong.append(f"process {child.pid} was left behind")
        self.faults["seconds to stop"] = round(time.monotonic() - begun_s)


def _coming_and_going(name: str) -> int:
    """How many of a kind there may be more: connections that clients keep, the pool's minimum."""
    if name in ("socket:[N]", "RequestResponseCycle.run_asgi"):
        return 100
    if name == "asyncio_N":  # threads of asyncio.to_thread, which are kept up to a bound
        return 32
    return 2 if name.startswith("syscall-") or name.endswith("audit.jsonl") else 0


def save_tiny_model(folder: Path) -> None:
    """Write a random Llama of two layers, whose tokens are bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lingos_kernel.testing.byte_codec import save_byte_codec

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=258, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        initializer_range=0.2, bos_token_id=256, eos_token_id=257,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    settings = (folder / "config.json").read_bytes()
    save_byte_codec(folder, context_tokens=512)
    (folder / "config.json").write_bytes(settings)


@contextlib.asynccontextmanager
async def small_disk(home: Path) -> AsyncIterator[None]:
    """A disk of its own for the kernel's files, where this user may mount one."""
    disk = home / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


async def run(options: argparse.Namespace) -> Trial:
    """Set the scene and run the trial."""
    from lingos_kernel.models.store import ModelStore

    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        home = Path(folder)
        source = options.model or home / "tiny"
        if not options.model:
            save_tiny_model(source)
        ModelStore(home / "store", catalogue={}).pull(str(source), alias="tiny")
        async with small_disk(home):
            kernel = ServedKernel(home, options.log or home / "kernel.log")
            trial = Trial(
                kernel,
                seed=options.seed,
                operations=options.operations,
                clients=options.clients,
            )
            try:
                await trial.run()
            finally:
                with contextlib.suppress(ProcessLookupError, AssertionError):
                    os.kill(kernel.os_pid, signal.SIGKILL)
            return trial


def report(trial: Trial, took_s: float) -> None:
    """Print what was done and what came of it."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{trial.operations} operations, seed {trial.seed}, {took_s:.0f} s, load {load}")
    columns = sorted({outcome for _, outcome in trial.outcomes})
    for name in OPERATIONS:
        row = {outcome: trial.outcomes[name, outcome] for outcome in columns}
        cells = "  ".join(f"{outcome} {count}" for outcome, count in row.items() if count)
        print(f"  {name:14} {sum(row.values()):6}  {cells}")
    print("faults:", ", ".join(f"{name} {count}" for name, count in sorted(trial.faults.items())))
    ledger = trial.scene.ledger
    print(
        f"messages accepted {len(ledger.put)}, acknowledged {sum(ledger.done.values())};"
        f" jobs accepted {len(ledger.jobs)}; deadlocks told {len(ledger.deadlocks)},"
        f" after {max(ledger.deadlocks, default=0.0):.2f} s at most"
    )
    if trial.memory:
        sizes = [tuple(round(n / 2**20) for n in pair) for pair in trial.memory]
        middle = sizes[len(sizes) // 3]
        print(f"MiB of kernel, engine: a third into the last life {middle}, at the end {sizes[-1]}")
    print(f"the slowest operation took {trial.slowest[0]:.1f} s ({trial.slowest[1]})")
    for text, count in trial.odd.most_common(20):
        print(f"  odd, {count} times: {text}")
    for text in trial.wrong:
        print(f"WRONG: {text}")
    print("nothing hung, lost, doubled or leaked" if not trial.wrong else "NOT AS PROMISED")


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--model", type=Path, help="a causal model's folder; a tiny one if none")
    parser.add_argument("--log", type=Path, help="where the kernel's log is kept")
    options = parser.parse_args()
    begun_s = time.monotonic()
    trial = asyncio.run(run(options))
    report(trial, time.monotonic() - begun_s)
    sys.exit(bool(trial.wrong))


if __name__ == "__main__":
    main()
