"""Reading what happened: the audit log, its chain, and the kernel's own log."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from lingos_kernel.client.local import LocalClient
from lingos_kernel.paths import LOG_NAME
from lingos_kernel.syscalls.events import Item
from lingos_kernel.testing.scripted_kernel import scripted_kernel


async def test_tail_follows(tmp_path: Path) -> None:
    """The last records first, then each new one."""
    async with scripted_kernel(tmp_path) as kernel:
        client = LocalClient(kernel)
        await client.call("sys.version")
        kernel.audit.flush()
        async with aclosing(client.stream("audit.tail", limit=1, follow=True)) as events:
            found = [event async for event in _items(events, 1)]
            assert found[0]["syscall"] == "sys.version"
            assert found[0]["outcome"] == "ok"
            await client.call("sys.noop")
            found = [event async for event in _items(events, 1)]
            assert found[0]["syscall"] == "sys.noop"
        records = await client.call("audit.tail", limit=2)
        assert len(records) == 2


async def test_tail_leaves_out(tmp_path: Path) -> None:
    """What interfaces call all the time hides nothing that came before it."""
    async with scripted_kernel(tmp_path) as kernel:
        client = LocalClient(kernel)
        await client.call("sys.version")
        for _ in range(5):
            await client.call("sys.noop")
        kernel.audit.flush()
        stream = client.stream("audit.tail", limit=2, follow=True, without=["sys.noop"])
        async with aclosing(stream) as events:
            found = [event async for event in _items(events, 1)]
            assert found[-1]["syscall"] == "sys.version"
            await client.call("sys.noop")
            await client.call("sys.help")
            found = [event async for event in _items(events, 1)]
            assert found[0]["syscall"] == "sys.help"
        assert await client.call("audit.tail", limit=0, without=["sys.noop"]) == []


async def _items(events, count):
    """So many items of a stream."""
    left = count
    async for event in events:
        if isinstance(event, Item):
            yield event.data
            left -= 1
            if not left:
                return


async def test_verify(tmp_path: Path) -> None:
    """An intact chain is told; a record that was changed is found, with its line."""
    async with scripted_kernel(tmp_path) as kernel:
        client = LocalClient(kernel)
        await client.call("sys.noop")
        found = await client.call("audit.verify")
        assert found["intact"]
        assert found["records"] >= 1
        path = kernel.audit.path
        path.write_bytes(path.read_bytes().replace(b"sys.noop", b"sys.nope"))
        found = await client.call("audit.verify")
        assert not found["intact"]
        assert found["bad_line"]


async def test_log(tmp_path: Path) -> None:
    """The last lines of the file; none when there is no file."""
    async with scripted_kernel(tmp_path) as kernel:
        client = LocalClient(kernel)
        assert await client.call("sys.log") == []
        path = kernel.config.paths.state_dir / LOG_NAME
        path.parent.mkdir(exist_ok=True)
        path.write_text("one\ntwo\nhalf", encoding="utf-8")
        assert await client.call("sys.log", limit=1) == [{"text": "two"}]
