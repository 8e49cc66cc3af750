"""The operations of `random_operations.py`, and the ledger of what was promised to whom."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from lingos_kernel.client.http import HttpClient
from lingos_kernel.errors import Deadlock, LingOSError, UnknownProcess

LIMIT_S = 20.0
"""The time limit of each call."""
QUEUE, EFFECTS = "ledger", "effects"
CONTEXTS = [f"c{n}" for n in range(10)]
LOCKS = [("m0", "mutex", 1), ("m1", "mutex", 1), ("rw", "rwlock", 1), ("sem", "semaphore", 3)]
KINDS = ["error", "system_exit", "keyboard", "generator_exit", "memory", "cancelled"]
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "back"]


@dataclass
class Ledger:
    """What the kernel has promised: each entry must be kept once, whatever happens."""

    put: set[int] = field(default_factory=set)
    """Messages that were accepted."""
    tried: set[int] = field(default_factory=set)
    """Messages that may or may not have been accepted: the answer was lost."""
    done: Counter[int] = field(default_factory=Counter)
    """Messages whose acknowledgement was confirmed."""
    dead: set[int] = field(default_factory=set)
    """Messages that a worker gave up for good."""
    again: list[int] = field(default_factory=list)
    """Messages that were given out after they were acknowledged."""
    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Accepted jobs: what each does, and its number."""
    deadlocks: list[float] = field(default_factory=list)
    """How long each took to be told."""
    unfound: int = 0
    """Deadlocks that nobody was told."""


@dataclass
class Actor:
    """A client with a process of its own."""

    http: HttpClient
    pid: int = 0
    is_stopped: bool = False

    @property
    def call(self) -> Callable[..., Awaitable[Any]]:
        """Call a syscall under the limit, as somebody who has said yes."""
        return self.http.with_options(timeout_s=LIMIT_S, confirmed=True).call

    async def open(self) -> None:
        """Get a process, anew when the last one has ended."""
        self.pid = await self.http.open_process("actor")


@dataclass
class Scene:
    """What operations act on."""

    actors: list[Actor]
    ledger: Ledger
    number: int = 0

    def other(self, rng: Random, me: Actor) -> Actor:
        """Another client."""
        return rng.choice([actor for actor in self.actors if actor is not me])


Operation = Callable[[Scene, Random, Actor, int], Awaitable[Any]]
OPERATIONS: dict[str, tuple[int, Operation]] = {}


def operation(name: str, weight: int) -> Callable[[Operation], Operation]:
    """Note an operation under its name; it is chosen in proportion to its weight."""

    def note(function: Operation) -> Operation:
        OPERATIONS[name] = (weight, function)
        return function

    return note


def choose(rng: Random) -> str:
    """The name of a random operation."""
    names = list(OPERATIONS)
    return rng.choices(names, [OPERATIONS[name][0] for name in names])[0]


def text(rng: Random, most: int = 30) -> str:
    """Some words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def sampling(rng: Random) -> dict[str, Any]:
    """How to answer: greedy or by chance, shortly."""
    chance = {"temperature": 0.8, "seed": rng.randint(0, 99)} if rng.random() < 0.5 else {}
    return {"max_tokens": rng.randint(1, 24), "ignore_eos": rng.random() < 0.5, **chance}


# The model


@operation("complete", 10)
async def complete(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Continue a text as a whole."""
    await me.call("llm.complete", prompt=text(rng), n=rng.choice([1, 1, 1, 2]), **sampling(rng))


@operation("stream", 8)
async def stream(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Read an answer piece by piece, to its end or not."""
    leave_after = rng.choice([None, rng.randint(1, 8)])
    client = me.http.with_options(timeout_s=LIMIT_S)
    events = client.stream("llm.complete", prompt=text(rng), **sampling(rng))
    count = 0
    try:
        async for _event in events:
            count += 1
            if count == leave_after:
                return
    finally:
        await events.aclose()


@operation("chat", 5)
async def chat(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Answer a conversation, sometimes with tools, sometimes in a context."""
    options = sampling(rng)
    if rng.random() < 0.3:
        options |= {"tools": ["sys.version"], "max_steps": 2}
    elif rng.random() < 0.4:
        options["context"] = rng.choice(CONTEXTS)
    messages = [{"role": "user", "content": text(rng)}]
    await me.call("llm.chat", messages=messages, **options)


@operation("embed", 5)
async def embed(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Turn texts into vectors."""
    texts = [text(rng) for _ in range(rng.randint(1, 4))]
    await me.call("llm.embed", texts=texts, model="tiny")


@operation("score", 2)
async def score(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Score a text."""
    await me.call("llm.score", text=text(rng), given=text(rng))


@operation("model", 2)
async def model(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Load the model, or free it when it is idle."""
    await me.call(rng.choice(["model.load", "model.unload"]), name="tiny")


@operation("policy", 2)
async def policy(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Schedule by another policy."""
    choices = (await me.call("sys.policy"))["choices"]
    await me.call("sys.policy", name=rng.choice(choices))


# Contexts


@operation("context", 10)
async def context(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Make, fork, cut, extend, save, open, show or remove a context."""
    name, to = rng.choice(CONTEXTS), rng.choice(CONTEXTS)
    match rng.choice(["create", "create", "fork", "truncate", "append", "go on", "file", "remove"]):
        case "create":
            await me.call("ctx.create", name=name, text=text(rng))
        case "fork":
            await me.call("ctx.fork", name=name, to=to)
        case "truncate":
            length = (await me.call("ctx.show", name=name))["tokens"]
            await me.call("ctx.truncate", name=name, at=rng.randint(0, length))
        case "append":
            await me.call("ctx.append", name=name, text=text(rng))
        case "go on":
            await me.call("llm.complete", prompt=text(rng), context=name, **sampling(rng))
        case "file":
            await me.call("ctx.save", name=name)
            await me.call("ctx.open", path=name, name=to)
        case "remove":
            await me.call("ctx.remove", name=name)


# Messages


@operation("letters", 6)
async def letters(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Send, receive, or ask another process, which may answer."""
    other = scene.other(rng, me)
    match rng.choice(["send", "recv", "ask"]):
        case "send":
            expires_s = rng.choice([None, 0.05])
            await me.call("mq.send", to=other.pid, body=number, timeout_s=1, expires_s=expires_s)
        case "recv":
            await me.call("mq.recv", timeout_s=rng.random())
        case "ask":
            asked = asyncio.ensure_future(
                me.call("mq.request", to=other.pid, body="?", timeout_s=rng.random() * 2)
            )
            try:
                letter = await other.call("mq.recv", timeout_s=0.5)
                if letter["correlation_id"]:
                    await other.call("mq.reply", correlation_id=letter["correlation_id"], body=1)
                await asked
            finally:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)


@operation("topics", 4)
async def topics(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Publish, or listen for a while."""
    if rng.random() < 0.6:
        await me.call("mq.publish", topic="news.all", body=number, timeout_s=0.2)
        return
    overflow = rng.choice(["block", "drop-oldest"])
    client = me.http.with_options(timeout_s=rng.random())
    await client.call("mq.subscribe", topic="news.*", overflow=overflow, bound=2, limit=3)


@operation("put", 8)
async def put(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Put a durable message."""
    ledger = scene.ledger
    arguments = {"queue": QUEUE, "payload": number, "idempotency_key": f"put-{number}"}
    ledger.tried.add(number)
    try:
        delay_s = rng.choice([0.0, 0.0, 0.3])
        await me.call("mq.put", delay_s=delay_s, priority=rng.randint(0, 5), **arguments)
    except LingOSError as error:
        if error.code in ("queue_full", "disk_full"):
            ledger.tried.discard(number)  # it was refused: it must not come
        raise
    ledger.put.add(number)


@operation("work", 8)
async def work(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Claim durable messages, and acknowledge them, fail them or forget about them."""
    claimed = await me.call(
        "mq.claim", queues=[QUEUE], limit=rng.randint(1, 4), visibility_s=1 + rng.random(),
        wait_s=rng.choice([0, 0.2]),
    )  # fmt: skip
    for job in claimed:
        await end_claim(scene.ledger, me, job, rng.random())


async def end_claim(ledger: Ledger, me: Actor, job: dict[str, Any], chance: float) -> None:
    """Do one of the things that workers do to a message, and note it."""
    message = job["payload"]
    if ledger.done[message]:
        ledger.again.append(message)
    if chance < 0.65:
        if (await me.call("mq.acknowledge", job=job))["held"]:
            ledger.done[message] += 1
    elif chance < 0.9:
        retry = chance < 0.85
        fate = (await me.call("mq.fail", job=job, error="bad luck", retry=retry))["fate"]
        if fate == "dead":
            ledger.dead.add(message)


# Jobs


@operation("job", 7)
async def job(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Submit a job that has an effect, goes on with a context, fails, or takes a while."""
    kind = rng.choice(["effect", "effect", "effect", "turn", "fail", "sleep"])
    attempts = 50
    match kind:
        case "effect":
            arguments = {"queue": EFFECTS, "payload": number, "idempotency_key": f"e-{number}"}
            name = "mq.put"
        case "turn":
            await me.call("ctx.create", name=f"job-{number}", text="begin")
            name, arguments = "llm.complete", {"prompt": f" <{number}>", "max_tokens": 3}
            arguments["context"] = f"job-{number}"
        case "fail":
            name, arguments, attempts = "chaos.fail", {"kind": rng.choice(KINDS)}, 2
        case _:
            name, arguments = "chaos.sleep", {"seconds": rng.random() / 4}
    accepted = await me.call(
        "job.submit", syscall=name, arguments=arguments, max_attempts=attempts,
        priority=rng.randint(0, 5), idempotency_key=f"job-{number}",
    )  # fmt: skip
    scene.ledger.jobs[accepted["job_id"]] = (kind, number)


@operation("job.look", 3)
async def job_look(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Wait for a job for a moment, or call one off."""
    if not scene.ledger.jobs:
        return
    job_id = rng.choice(list(scene.ledger.jobs))
    if rng.random() < 0.15:
        await me.call("job.cancel", job_id=job_id)
    else:
        await me.call("job.result", job_id=job_id, wait_s=rng.random() * 2)


# Locks


@operation("locks", 8)
async def locks(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Take a lock, hold it over another call, and give it back, or forget to."""
    name, kind, units = rng.choice(LOCKS)
    await me.call("thread.create_lock", name=name, kind=kind, units=units)
    shared = kind == "rwlock" and rng.random() < 0.6
    await me.call("thread.acquire", name=name, shared=shared, timeout_s=rng.random() * 2)
    await me.call("sys.noop")
    if rng.random() < 0.9:
        await me.call("thread.release", name=name)


@operation("deadlock", 1)
async def deadlock(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Let two processes wait for each other: one of them is told, and the other goes on."""
    names = [f"d{number}-a", f"d{number}-b"]
    pids = [(await me.call("proc.open", command="philosopher"))["pid"] for _ in names]
    first, second = (me.http.with_options(pid=pid, timeout_s=LIMIT_S) for pid in pids)
    try:
        for name in names:
            await first.call("thread.create_lock", name=name)
        await first.call("thread.acquire", name=names[0])
        await second.call("thread.acquire", name=names[1])
        begun_s = time.monotonic()
        ends = await asyncio.gather(
            _wait_and_give_way(first, wanted=names[1], held=names[0]),
            _wait_and_give_way(second, wanted=names[0], held=names[1]),
        )
        scene.ledger.deadlocks.append(time.monotonic() - begun_s)
        scene.ledger.unfound += sum(ends) != 1
    finally:
        await end_processes(me, pids)


async def _wait_and_give_way(client: HttpClient, *, wanted: str, held: str) -> bool:
    """Wait for a lock; whether it was a deadlock, after which the other lock is given back."""
    try:
        await client.call("thread.acquire", name=wanted)
    except Deadlock:
        await client.call("thread.release", name=held)
        return True
    return False


async def end_processes(me: Actor, pids: list[int]) -> None:
    """End processes that this client has opened; a killed kernel may have lost one."""
    for pid in pids:
        try:
            await me.call("proc.close", pid=pid)
        except UnknownProcess:
            continue


# Processes


@operation("process", 8)
async def process(scene: Scene, rng: Random, me: Actor, number: int) -> None:
    """Open a child, work in it, act on it, and end it."""
    on_parent_end = rng.choice(["reparent", "end"])
    opened = await me.call("proc.open", command=f"p{number}", on_parent_end=on_parent_end)
    pid = opened["pid"]
    client = me.http.with_options(pid=pid, timeout_s=LIMIT_S)
    working = asyncio.ensure_future(
        client.call("llm.complete", prompt=text(rng), max_tokens=rng.randint(1, 40))
    )
    try:
        for _ in range(rng.randint(1, 4)):
            await act_on(scene, rng, me, pid)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await end_processes(me, [pid])


async def act_on(scene: Scene, rng: Random, me: Actor, pid: int) -> None:
    """One thing that is done to processes."""
    match rng.choice(["stop", "nice", "limit", "term", "wait", "child", "show", "trace", "kill"]):
        case "stop":
            await me.call("proc.kill", pid=pid, signal="STOP")
            await me.call("proc.tree")
            await me.call("proc.kill", pid=pid, signal="CONT")
        case "nice":
            await me.call("proc.nice", pid=pid, priority=rng.randint(-20, 19))
        case "limit":
            await me.call("proc.limit", pid=pid, tokens=rng.randint(0, 60), seconds=rng.random())
        case "term":
            await me.call("proc.kill", pid=pid, signal="TERM")
        case "wait":
            await me.call("proc.wait", pid=pid, timeout_s=rng.random() / 4)
        case "child":
            child = await me.call("proc.open", command="child", parent=pid, on_parent_end="end")
            await me.call("proc.show", pid=child["pid"])
        case "show":
            await me.call("proc.show", pid=pid)
        case "trace":
            await me.http.with_options(timeout_s=0.3).call("proc.trace", pid=pid, limit=2)
        case "kill":
            await me.call("proc.kill", pid=pid, signal="KILL")


@operation("look", 4)
async def look(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Look at everything."""
    names = ["sys.snapshot", "proc.tree", "mq.queues", "thread.list", "mem.stat", "sys.calls"]
    await me.call(rng.choice(names))


# Faults of handlers and hooks


@operation("handler fails", 6)
async def handler(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Call what raises: on the loop, on a thread, in a stream, in nested calls."""
    kind = rng.choice(KINDS)
    match rng.choice(["fail", "fail_sync", "stream", "nest", "sleep"]):
        case "stream":
            await me.call("chaos.stream", count=rng.randint(0, 300), kind=rng.choice(["", kind]))
        case "nest":
            await me.call("chaos.nest", wide=rng.randint(1, 6), kind=rng.choice(["", kind]))
        case "sleep":
            client = me.http.with_options(timeout_s=0.05 + rng.random() / 4)
            await client.call("chaos.sleep", seconds=rng.random() / 4)
        case name:
            await me.call(f"chaos.{name}", kind=kind)


@operation("hook fails", 2)
async def hook(scene: Scene, rng: Random, me: Actor, _: int) -> None:
    """Let a hook around the next call raise."""
    await me.call("chaos.hooks", when=rng.choice(["before", "after"]), kind=rng.choice(KINDS))
    await me.call("sys.noop")
