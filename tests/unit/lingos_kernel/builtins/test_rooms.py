"""The syscalls of processes, threads, queues, models, memory and the system."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import Generate, SetPolicy
from lingos_kernel.errors import (
    Cancelled,
    ConfigError,
    ConfirmationRequired,
    Deadlock,
    InvalidArguments,
    NotPermitted,
    UnknownModel,
    UnknownProcess,
    UnknownSyscall,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal, owner
from lingos_kernel.syscalls.call import Call
from lingos_kernel.testing.scripted_kernel import scripted_kernel


class Person:
    """Calls as the owner, from a process of its own."""

    def __init__(self, kernel: Kernel, command: str) -> None:
        self.kernel = kernel
        self.principal = kernel.processes.get(1).principal
        self.pid = kernel.processes.open(self.principal, command).pid

    def start(self, name: str, /, **arguments: Any) -> Call:
        """Begin a call."""
        return self.kernel.submit(self.principal, name, arguments, pid=self.pid)

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a call."""
        return await self.start(name, **arguments).result()


async def until_waiting(kernel: Kernel, lock: str, count: int = 1) -> None:
    """Wait until so many wait for a lock; each look gives the others their turn."""
    while len(next(row.waiters for row in kernel.locks.rows() if row.name == lock)) < count:
        await asyncio.sleep(0)


async def test_a_stopped_process_waits_and_a_continued_one_goes_on(make_kernel: Any) -> None:
    """STOP holds generation at a token, CONT lets it finish as if nothing had been."""
    async with make_kernel({"Hi": "abcdef"}, step=True) as kernel:
        ann = Person(kernel, "chat")
        call = ann.start("llm.complete", prompt="Hi")
        while not any(r.pid == ann.pid for r in kernel.engine.stats.sequences):
            kernel.engine.step()
            await asyncio.sleep(0)
        await kernel.call("proc.kill", pid=ann.pid, signal="STOP")
        rows = await kernel.call("proc.list")
        assert next(row["state"] for row in rows if row["pid"] == ann.pid) == "stopped"
        kernel.engine.step(20)
        assert call.outcome is None
        await kernel.call("proc.kill", pid=ann.pid, signal="CONT")
        while call.outcome is None:
            kernel.engine.step()
            await asyncio.sleep(0)
        assert (await call.result())["text"] == "abcdef"


async def test_killing_a_process_cancels_its_calls(make_kernel: Any) -> None:
    """KILL ends the process and what it was doing."""
    async with make_kernel(step=True) as kernel:
        ann = Person(kernel, "chat")
        call = ann.start("llm.complete", prompt="Hi")
        await kernel.call("proc.kill", pid=ann.pid, signal="KILL")
        with pytest.raises(Cancelled):
            await call.result()
        with pytest.raises(UnknownProcess, match="has ended"):
            await kernel.call("proc.show", pid=ann.pid)


async def test_nice_reaches_the_running_request(make_kernel: Any) -> None:
    """A new priority is told to the engine."""
    async with make_kernel(step=True) as kernel:
        ann = Person(kernel, "chat")
        call = ann.start("llm.complete", prompt="Hi")
        while not any(isinstance(command, Generate) for command in kernel.engine.commands):
            await asyncio.sleep(0)
        assert (await kernel.call("proc.nice", pid=ann.pid, priority=7))["before"] == 0
        commands = [type(command).__name__ for command in kernel.engine.commands]
        assert "SetPriority" in commands
        call.cancel()


async def test_the_policy_changes_while_the_kernel_runs(make_kernel: Any) -> None:
    """It is shown, set with weights, and refused when there is none of that name."""
    async with make_kernel() as kernel:
        shown = await kernel.call("sys.policy")
        assert shown["policy"] == "priority"
        assert {"fair", "fifo", "round-robin"} < set(shown["choices"])
        await kernel.engine.start()
        changed = await kernel.call("sys.policy", name="fair", tenant_weights={"ann": 3})
        assert changed["policy"] == "fair"
        assert SetPolicy("fair", {"ann": 3.0}) in kernel.engine.commands
        assert (await kernel.snapshot()).kernel.policy == "fair"
        with pytest.raises(ConfigError, match="lottery"):
            await kernel.call("sys.policy", name="lottery")
        with pytest.raises(ConfigError, match="weight"):
            await kernel.call("sys.policy", tenant_weights={"ann": 0})
        assert (await kernel.call("sys.policy"))["policy"] == "fair"
        await kernel.call("sys.policy", name="fifo")
        assert kernel.engine.commands[-1] == SetPolicy("fifo", {"ann": 3.0})


async def test_nobody_has_code_run_by_naming_a_policy(make_kernel: Any) -> None:
    """What no plugin registered is not imported; who may only look changes nothing."""
    async with make_kernel() as kernel:
        with pytest.raises(ConfigError, match="no scheduling policy is called"):
            await kernel.call("sys.policy", name="lingos_kernel.scheduling.policies:Fifo")
        guest = Principal("guest", capabilities=frozenset({"sys.policy"}))
        shown = await kernel.submit(guest, "sys.policy", {}).result()
        assert shown["policy"] == "priority"
        for change in ({"name": "fair"}, {"tenant_weights": {"guest": 9.0}}):
            with pytest.raises(NotPermitted, match="not change it"):
                await kernel.submit(guest, "sys.policy", change).result()
        assert (await kernel.call("sys.policy"))["source"] == "default"


async def test_the_policy_says_whether_it_is_that_of_the_settings(tmp_path: Path) -> None:
    """Weights come from the settings, and a change names itself as passing."""
    weights = {"ann": 3.0, "bob": 0.5}
    settings = {"engine.policy": "fair", "engine.tenant_weights": weights}
    async with scripted_kernel(tmp_path, settings=settings) as kernel:
        shown = await kernel.call("sys.policy")
        assert (shown["policy"], shown["tenant_weights"]) == ("fair", weights)
        assert shown["source"] == "command line"
        changed = await kernel.call("sys.policy", tenant_weights={})
        assert (changed["policy"], changed["tenant_weights"]) == ("fair", {})
        assert "until the kernel ends" in changed["source"]


async def test_locks_keep_processes_apart(make_kernel: Any) -> None:
    """The second waits until the first gives back; a dead holder's lock passes on."""
    async with make_kernel() as kernel:
        ann, bob = Person(kernel, "a"), Person(kernel, "b")
        await ann.call("thread.create_lock", name="index")
        await ann.call("thread.acquire", name="index")
        waiting = bob.start("thread.acquire", name="index")
        await until_waiting(kernel, "index")
        row = (await kernel.call("thread.locks"))[0]
        assert (row["holders"], row["waiters"]) == ([ann.pid], [bob.pid])
        kernel.processes.close(ann.pid)
        assert (await waiting.result())["pid"] == bob.pid


async def test_locks_are_not_for_passing_calls(make_kernel: Any) -> None:
    """A call without a process that lasts would lose its lock as it ends: it is told so."""
    async with make_kernel() as kernel:
        ann = Person(kernel, "a")
        await ann.call("thread.create_lock", name="m")
        for name in ("thread.create_lock", "thread.acquire"):
            call = kernel.submit(owner("me"), name, {"name": "m"})
            with pytest.raises(InvalidArguments, match="a process of its own"):
                await call.result()


async def test_a_deadlock_is_told_with_its_cycle(make_kernel: Any) -> None:
    """The youngest waiter fails, and the message shows who waits for whom."""
    async with make_kernel() as kernel:
        ann, bob = Person(kernel, "a"), Person(kernel, "b")
        for person, own in ((ann, "x"), (bob, "y")):
            await person.call("thread.create_lock", name=own)
            await person.call("thread.acquire", name=own)
        first = ann.start("thread.acquire", name="y")
        await until_waiting(kernel, "y")
        with pytest.raises(Deadlock, match="x"):
            await bob.call("thread.acquire", name="x")
        await bob.call("thread.release", name="y")
        await first.result()


async def test_processes_write_to_each_other(make_kernel: Any) -> None:
    """A request is received, answered, and its answer comes back."""
    async with make_kernel() as kernel:
        ann, bob = Person(kernel, "a"), Person(kernel, "b")
        asked = ann.start("mq.request", to=bob.pid, body={"n": 20})
        letter = await bob.call("mq.recv")
        assert (letter["sender"], letter["body"]) == (ann.pid, {"n": 20})
        await bob.call("mq.reply", correlation_id=letter["correlation_id"], body=41)
        assert (await asked.result())["body"] == 41
        with pytest.raises(UnknownProcess):
            await ann.call("mq.send", to=9_999, body=1)


async def test_topics_reach_subscribers_until_they_have_enough(make_kernel: Any) -> None:
    """A subscription streams what is published and ends by itself at its limit."""
    async with make_kernel() as kernel:
        ann, bob = Person(kernel, "a"), Person(kernel, "b")
        listening = bob.start("mq.subscribe", topic="news.*", limit=2)
        while not kernel.topics.rows():
            await asyncio.sleep(0)
        for number in (1, 2):
            await ann.call("mq.publish", topic="news.x", body=number)
        assert [delivery["body"] for delivery in await listening.result()] == [1, 2]


async def test_topics_and_mailboxes_belong_to_their_tenant(make_kernel: Any) -> None:
    """The same topic is another for others, unless both mean the shared one; so are mailboxes."""
    red, blue = (Principal(name, name, frozenset({"mq.*"})) for name in ("red", "blue"))
    async with make_kernel() as kernel:
        mine = kernel.processes.open(red, "x").pid

        async def call(who: Principal, name: str, **arguments: Any) -> Any:
            return await kernel.submit(who, name, arguments).result()

        own = kernel.submit(red, "mq.subscribe", {"topic": "*", "limit": 1}, pid=mine)
        both = kernel.submit(red, "mq.subscribe", {"topic": "*", "limit": 1, "shared": True})
        while len(kernel.topics.rows()) < 2:
            await asyncio.sleep(0)
        seen = {
            who: [row["name"] for row in await call(who, "mq.queues")]
            for who in (red, blue, kernel.processes.get(1).principal)
        }
        assert list(seen.values()) == [
            ["topic:*#1", "topic:*/*#2"],
            ["topic:*/*#2"],
            ["topic:red/*#1", "topic:*/*#2"],
        ]
        assert (await call(blue, "mq.publish", topic="t", body="no"))["reached"] == 0
        assert (await call(blue, "mq.publish", topic="t", body=1, shared=True))["reached"] == 1
        assert (await call(red, "mq.publish", topic="t", body=2))["reached"] == 1
        assert [delivery["body"] for delivery in await own.result()] == [2]
        assert [delivery["body"] for delivery in await both.result()] == [1]
        for name in ("mq.send", "mq.request"):
            with pytest.raises(NotPermitted, match="another tenant"):
                await call(blue, name, to=mine, body=1)
        await kernel.call("mq.send", to=mine, body="from who may")
        letter = await kernel.submit(red, "mq.recv", {}, pid=mine).result()
        assert letter["body"] == "from who may"
        await kernel.call("mq.send", to=mine, body="unread")
        assert [row["name"] for row in await call(red, "mq.queues")] == [f"mailbox:{mine}"]
        assert await call(blue, "mq.queues") == []


async def test_jobs_are_claimed_and_acknowledged(make_kernel: Any) -> None:
    """A job is put once per key, claimed with its payload, acknowledged once."""
    async with make_kernel() as kernel:
        ann = Person(kernel, "a")
        first = await ann.call("mq.put", queue="q", payload=[1], idempotency_key="k")
        again = await ann.call("mq.put", queue="q", payload=[1], idempotency_key="k")
        assert first == again
        (job,) = await ann.call("mq.claim", queues=["q"])
        assert job["payload"] == [1]
        assert (await ann.call("mq.acknowledge", job=job))["held"] is True
        assert (await ann.call("mq.acknowledge", job=job))["held"] is False
        with pytest.raises(InvalidArguments, match="not a claimed job"):
            await ann.call("mq.acknowledge", job={"job_id": "x"})


async def test_a_claim_belongs_to_who_made_it(make_kernel: Any) -> None:
    """Another principal who knows all of a claim can neither acknowledge it nor fail it."""
    bob = Principal("bob", "", frozenset({"mq.*"}))
    async with make_kernel() as kernel:
        ann = Person(kernel, "a")
        await ann.call("mq.put", queue="q", payload=1)
        (job,) = await ann.call("mq.claim", queues=["q"])
        theirs = await kernel.submit(bob, "mq.acknowledge", {"job": job}).result()
        assert theirs["held"] is False
        fail = {"job": job, "error": "no", "retry": False}
        assert (await kernel.submit(bob, "mq.fail", fail).result())["fate"] == "lost"
        forged = {**job, "worker": "user:/bob"}
        assert (await ann.call("mq.acknowledge", job=forged))["held"] is True


async def test_a_queue_belongs_to_its_tenant(make_kernel: Any) -> None:
    """The same name and key mean another job for others; nobody else claims or sees it."""
    red, blue = (Principal(name, name, frozenset({"mq.*"})) for name in ("red", "blue"))
    async with make_kernel() as kernel:

        async def call(who: Principal, name: str, **arguments: Any) -> Any:
            return await kernel.submit(who, name, arguments).result()

        async def names(who: Principal) -> set[str]:
            rows = await call(who, "mq.queues")
            return {row["name"] for row in rows if row["name"].startswith("jobs:")}

        put = {"queue": "q", "idempotency_key": "k", "max_attempts": 1}
        first = await call(red, "mq.put", payload="red", **put)
        assert await call(blue, "mq.claim", queues=["q"]) == []
        assert first != await call(blue, "mq.put", payload="blue", **put)
        (job,) = await call(blue, "mq.claim", queues=["q"], limit=9)
        assert (job["payload"], job["queue"], job["tenant"]) == ("blue", "q", "blue")
        assert (await call(blue, "mq.acknowledge", job=job))["held"]
        (job,) = await call(red, "mq.claim", queues=["q"])
        assert (await call(red, "mq.fail", job=job, error="no"))["fate"] == "dead"
        assert await call(blue, "mq.dead", queue="q") == []
        assert not (await call(blue, "mq.requeue", job_id=job["job_id"]))["requeued"]
        (letter,) = await call(red, "mq.dead", queue="q")
        assert (letter["job_id"], letter["queue"]) == (job["job_id"], "q")
        assert (await call(red, "mq.requeue", job_id=job["job_id"]))["requeued"]
        await call(blue, "mq.put", queue="s", payload=1, shared=True)
        assert await names(red) == {"jobs:q", "jobs:*/s"}
        assert await names(blue) == {"jobs:*/s"}
        everybody = {row["name"] for row in await kernel.call("mq.queues")}
        assert everybody >= {"jobs:red/q", "jobs:*/s"}


async def test_a_queue_is_shared_by_those_who_say_so(make_kernel: Any) -> None:
    """Another tenant claims what was put into it, and is its claim's owner."""
    red, blue = (Principal(name, name, frozenset({"mq.*"})) for name in ("red", "blue"))
    async with make_kernel() as kernel:
        put = {"queue": "q", "payload": 1, "shared": True}
        await kernel.submit(red, "mq.put", put).result()
        assert await kernel.submit(blue, "mq.claim", {"queues": ["q"]}).result() == []
        (job,) = await kernel.submit(blue, "mq.claim", {"queues": ["q"], "shared": True}).result()
        assert (job["tenant"], job["queue"]) == ("red", "q")
        assert not (await kernel.submit(red, "mq.acknowledge", {"job": job}).result())["held"]
        assert (await kernel.submit(blue, "mq.acknowledge", {"job": job}).result())["held"]


async def test_models_are_listed_loaded_and_removed(make_kernel: Any) -> None:
    """A model in memory says so; removing one wants a yes and frees it first."""
    async with make_kernel() as kernel:
        assert not any(model["loaded"] for model in await kernel.call("model.list"))
        loaded = await kernel.call("model.load", name="scripted")
        assert loaded["name"] == "scripted"
        assert (await kernel.call("model.show"))["memory"]["pages"] > 0
        with pytest.raises(ConfirmationRequired):
            await kernel.call("model.remove", name="scripted")
        me = kernel.processes.get(1).principal
        yes = kernel.submit(me, "model.remove", {"name": "scripted"}, confirmed=True)
        assert (await yes.result())["removed"] == "scripted"
        with pytest.raises(UnknownModel):
            await kernel.call("model.show", name="scripted")


async def test_the_plan_shows_its_sum(make_kernel: Any) -> None:
    """N inferences of cost C fill the budget M."""
    async with make_kernel() as kernel:
        plan = await kernel.call("mem.plan", tokens=100)
    assert plan["pages_per_inference"] == 7
    assert plan["inferences"] == plan["pages"] // 7
    assert plan["inferences"] * plan["inference_bytes"] <= plan["budget_bytes"]


async def test_dropping_what_is_cached_asks_first(make_kernel: Any) -> None:
    """It makes later prompts slower for everybody, so a model or a person has to be sure."""
    async with make_kernel() as kernel:
        await kernel.call("model.load", name="scripted")
        with pytest.raises(ConfirmationRequired):
            await kernel.call("mem.drop")
        me = kernel.processes.get(1).principal
        yes = kernel.submit(me, "mem.drop", {}, confirmed=True)
        assert (await yes.result())["models"] == ["scripted"]


async def test_tiers_are_listed(make_kernel: Any) -> None:
    """An engine without tiers has none to list."""
    async with make_kernel() as kernel:
        await kernel.call("model.load", name="scripted")
        assert await kernel.call("mem.tiers") == []


async def test_the_snapshot_shows_who_runs_what(make_kernel: Any) -> None:
    """A running chat is there as process, call and sequence, and gone afterwards."""
    async with make_kernel({"Hi": "abc"}, step=True) as kernel:
        ann = Person(kernel, "research")
        call = ann.start("llm.complete", prompt="Hi")
        while not any(s.pid == ann.pid for s in (await kernel.snapshot()).sequences):
            kernel.engine.step()
        picture = await kernel.snapshot()
        row = next(row for row in picture.processes if row.pid == ann.pid)
        assert (row.command, row.model, row.calls) == ("research", "scripted", 1)
        assert [c.syscall for c in picture.calls if c.pid == ann.pid] == ["llm.complete"]
        call.cancel()
        kernel.engine.step()
        assert not [c for c in (await kernel.snapshot()).calls if c.pid == ann.pid]


async def test_help_lists_what_the_caller_may_call(make_kernel: Any) -> None:
    """Names with summaries, and one in full."""
    async with make_kernel() as kernel:
        names = [info["name"] for info in await kernel.call("sys.help")]
        assert "llm.chat" in names
        described = await kernel.call("sys.help", name="llm.chat")
        assert "temperature" in described["arguments"]["properties"]
        limited = Principal("guest", "", frozenset({"sys.*"}))
        refused = kernel.submit(limited, "sys.help", {"name": "llm.chat"})
        with pytest.raises(UnknownSyscall, match="for you"):
            await refused.result()
        assert {"llm", "sys"} <= {plugin["name"] for plugin in await kernel.call("sys.plugins")}
        assert any(value["key"] == "models.default" for value in await kernel.call("sys.config"))
        ended = await kernel.call("sys.calls", limit=2)
        assert [call["syscall"] for call in ended] == ["sys.plugins", "sys.config"]
