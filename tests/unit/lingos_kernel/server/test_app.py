"""The native API as any HTTP client sees it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lingos_kernel import syscall
from lingos_kernel.client import wire
from lingos_kernel.errors import OutOfMemory, QueueFull
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.server import protocol
from lingos_kernel.server.app import create_app
from lingos_kernel.server.presence import Presence

WAIT_S = 20.0
JSON = {"content-type": "application/json"}
EVENTS = {**JSON, "accept": "application/x-ndjson"}


class Stage:
    """What the test's syscalls tell the test."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    def make(self) -> list[Any]:
        """The syscalls."""

        @syscall("stage.hang")
        async def hang() -> AsyncGenerator[str, None]:
            """Yield once, then wait for ever."""
            try:
                yield "x"
                self.began.set()
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        @syscall("stage.fail")
        async def fail(kind: str) -> None:
            """Raise an error."""
            if kind == "full":
                raise QueueFull("full", retry_after_s=2.4)
            raise OutOfMemory("too big", hint="be small", need=5)

        return [hang, fail]


@pytest.fixture
async def stage(scripted_kernel: Kernel) -> Stage:
    """Syscalls for these tests."""
    stage = Stage()
    for function in stage.make():
        scripted_kernel.table.register(function, "stage")
    return stage


@pytest.fixture
async def http(kernel_socket: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that knows nothing of LingOS."""
    transport = httpx.AsyncHTTPTransport(uds=str(kernel_socket))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://kernel", timeout=WAIT_S
    ) as http:
        yield http


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error that an answer carries, always as JSON."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error.keys() == {"code", "message", "hint", "details"}
    return dict(error)


class TestRequests:
    """What is taken, and how the rest is refused."""

    async def test_call(self, http: httpx.AsyncClient) -> None:
        """Arguments in, result out, with the call's id; no body means no arguments."""
        answer = await http.post("/v1/call/sys.help", json={})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers[wire.CALL]
        assert (await http.post("/v1/call/sys.help")).json() == answer.json()

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"{", 400),
            (b"[1]", 400),
            (b"null", 400),
            (b'{"a": 1} x', 400),
            (b'{"a": "\xff"}', 400),
            (b"[" * 100_000, 400),
            (b'{"no_such_argument": 1}', 422),
        ],
    )
    async def test_bad_bodies(self, http: httpx.AsyncClient, body: bytes, status: int) -> None:
        """What is no JSON object is refused with the reason."""
        answer = await http.post("/v1/call/sys.help", content=body, headers=JSON)
        assert error_of(answer, status)["message"]

    async def test_content_type(self, http: httpx.AsyncClient) -> None:
        """Only JSON that says it is JSON is taken: no form of a web page can call."""
        answer = await http.post("/v1/call/sys.help", content=b"{}")
        assert "application/json" in error_of(answer, 415)["message"]
        fine = {"content-type": "application/json; charset=utf-8"}
        answer = await http.post("/v1/call/sys.help", content=b"{}", headers=fine)
        assert answer.status_code == 200

    async def test_body_limit(
        self, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A body beyond the limit is refused before it is read."""
        monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
        answer = await http.post("/v1/call/sys.help", content=b" " * 2000, headers=JSON)
        assert "1000" in error_of(answer, 413)["message"]
        assert (await http.get("/v1/ping")).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/v2/ping", 404),
            ("POST", "/v1/ping", 405),
            ("GET", "/v1/call/sys.help", 405),
            ("DELETE", "/v1/processes/x", 404),
        ],
    )
    async def test_unknown_routes(
        self, http: httpx.AsyncClient, method: str, path: str, status: int
    ) -> None:
        """A path that leads nowhere is named."""
        error = error_of(await http.request(method, path), status)
        assert error["message"] == f"there is no {method} {path}"

    @pytest.mark.parametrize(
        "headers",
        [
            {wire.PID: "one"},
            {wire.PRIORITY: "high"},
            {wire.PRIORITY: "77"},
            {wire.CONFIRMED: "maybe"},
            {wire.TIMEOUT: "-1"},
            {wire.TIMEOUT: "nan"},
            {wire.CALLER: "kernel"},
            {wire.CALLER: "model"},
        ],
        ids=str,
    )
    async def test_bad_headers(self, http: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """An option that makes no sense is refused, not guessed at."""
        error_of(await http.post("/v1/call/sys.help", json={}, headers=headers), 422)

    async def test_errors_have_their_status(self, http: httpx.AsyncClient, stage: Stage) -> None:
        """An error's class gives the status; QueueFull says when to come back."""
        error = error_of(await http.post("/v1/call/stage.fail", json={"kind": "x"}), 503)
        assert error == {
            "code": "out_of_memory",
            "message": "too big",
            "hint": "be small",
            "details": {"need": 5},
        }
        answer = await http.post("/v1/call/stage.fail", json={"kind": "full"})
        error_of(answer, 429)
        assert answer.headers["retry-after"] == "2"
        error_of(await http.post("/v1/call/no.such", json={}), 404)

    async def test_stranger_is_refused(
        self, kernel_socket: Path, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process of another user gets nothing, not even a ping."""
        monkeypatch.setattr(protocol, "peer_uid", lambda _: os.getuid() + 1)
        for method, path in (
            ("GET", "/v1/ping"),
            ("GET", "/v1/syscalls"),
            ("GET", "/v1/syscalls/sys.help"),
            ("GET", "/openapi.json"),
            ("POST", "/v1/call/sys.help"),
            ("POST", "/v1/calls/1/cancel"),
            ("POST", "/v1/processes"),
            ("DELETE", "/v1/processes/1"),
        ):
            error = error_of(await http.request(method, path), 401)
            assert error["code"] == "not_authenticated"


class TestStreams:
    """Events as lines."""

    async def test_lines(self, http: httpx.AsyncClient) -> None:
        """Each line is one event; the last is the end."""
        answer = await http.post("/v1/call/sys.help", json={}, headers=EVENTS)
        assert answer.headers["content-type"] == "application/x-ndjson"
        events = [json.loads(line) for line in answer.text.splitlines()]
        assert [event["event"] for event in events] == ["accepted", "result"]
        assert events[0]["call_id"] == answer.headers[wire.CALL]

    async def test_refusal_has_a_status(self, http: httpx.AsyncClient) -> None:
        """A call that does not begin is no stream."""
        answer = await http.post("/v1/call/no.such", json={}, headers=EVENTS)
        assert error_of(answer, 404)["code"] == "unknown_syscall"

    async def test_heartbeats(
        self, http: httpx.AsyncClient, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While nothing happens, empty lines tell that the kernel lives."""
        monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
        beats = 0
        async with http.stream("POST", "/v1/call/stage.hang", json={}, headers=EVENTS) as answer:
            async for line in answer.aiter_lines():
                beats += line == ""
                if beats == 3:
                    break
        await asyncio.wait_for(stage.ended.wait(), WAIT_S)

    @pytest.mark.parametrize("headers", [JSON, EVENTS], ids=["json", "events"])
    async def test_client_that_leaves_frees_its_call(
        self, http: httpx.AsyncClient, stage: Stage, headers: dict[str, str]
    ) -> None:
        """Closing the connection cancels the call."""
        request = http.post("/v1/call/stage.hang", json={}, headers=headers)
        task = asyncio.create_task(request)
        await asyncio.wait_for(stage.began.wait(), WAIT_S)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.wait_for(stage.ended.wait(), WAIT_S)


class TestProcesses:
    """Processes and calls of them."""

    async def test_process_stays_until_it_is_closed(
        self, http: httpx.AsyncClient, scripted_kernel: Kernel
    ) -> None:
        """Opened without events, a process outlives the connection."""
        asked = {"command": "job", "kind": "job", "priority": 3}
        pid = (await http.post("/v1/processes", json=asked)).json()["pid"]
        assert scripted_kernel.processes.get(pid).priority == 3
        assert (await http.delete(f"/v1/processes/{pid}")).json() == {"pid": pid}
        error_of(await http.delete(f"/v1/processes/{pid}"), 404)

    async def test_process_that_ends_with_its_client(
        self, http: httpx.AsyncClient, scripted_kernel: Kernel
    ) -> None:
        """Opened with events, a process ends with the connection."""
        body = {"command": "session"}
        async with http.stream("POST", "/v1/processes", json=body, headers=EVENTS) as answer:
            pid = json.loads(await anext(answer.aiter_lines()))["pid"]
            assert scripted_kernel.processes.get(pid).kind == "session"
        async with asyncio.timeout(WAIT_S):
            while any(p.pid == pid for p in scripted_kernel.processes.processes()):
                await asyncio.sleep(0)

    async def test_bad_process(self, http: httpx.AsyncClient) -> None:
        """A process needs a command."""
        error_of(await http.post("/v1/processes", json={}), 422)

    async def test_cancel_by_id(self, http: httpx.AsyncClient, stage: Stage) -> None:
        """Anybody who owns a call can cancel it by its id, from another connection."""
        async with http.stream("POST", "/v1/call/stage.hang", json={}, headers=EVENTS) as answer:
            lines = answer.aiter_lines()
            call_id = json.loads(await anext(lines))["call_id"]
            await asyncio.wait_for(stage.began.wait(), WAIT_S)
            cancelled = await http.post(f"/v1/calls/{call_id}/cancel")
            assert cancelled.json() == {"call_id": call_id}
            last = [json.loads(line) async for line in lines if line][-1]
        assert last["error"]["code"] == "cancelled"
        error_of(await http.post(f"/v1/calls/{call_id}/cancel"), 404)


class TestLooking:
    """The table, for machines."""

    async def test_syscalls(self, http: httpx.AsyncClient) -> None:
        """The list and each of its entries agree."""
        infos = (await http.get("/v1/syscalls")).json()
        names = [info["name"] for info in infos]
        assert names == sorted(names)
        one = next(info for info in infos if info["name"] == "sys.help")
        assert (await http.get("/v1/syscalls/sys.help")).json() == one
        error_of(await http.get("/v1/syscalls/sys.halp"), 404)

    async def test_a_guest_is_told_of_what_he_may_call_alone(self, scripted_kernel: Kernel) -> None:
        """Not in the list, not by name, not by the syscall that helps."""
        booted: asyncio.Future[Kernel] = asyncio.get_running_loop().create_future()
        booted.set_result(scripted_kernel)
        guest = Principal("guest", capabilities=frozenset({"sys.*"}))
        presence = Presence(lambda: 0.0, asyncio.Event())
        app = create_app(booted, presence, authenticate=lambda _: guest)
        await scripted_kernel.start()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://kernel") as http:
            names = [info["name"] for info in (await http.get("/v1/syscalls")).json()]
            assert {name for name in names if not name.startswith("sys.")} == {"plugin.list"}
            assert (await http.get("/v1/syscalls/sys.help")).status_code == 200
            error_of(await http.get("/v1/syscalls/llm.chat"), 404)
        await scripted_kernel.stop()

    async def test_openapi(self, http: httpx.AsyncClient) -> None:
        """The document lists what can be called."""
        document = (await http.get("/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        assert "/v1/call/sys.help" in document["paths"]
