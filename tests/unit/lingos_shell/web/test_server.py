"""The web mode: this machine alone, with the key alone; a real server and a real client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from lingos_kernel.errors import InvalidArguments, LingOSError
from lingos_shell.web import own_address
from lingos_shell.web.server import command_line, listen

TIMEOUT = aiohttp.ClientTimeout(total=60)


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The link that `lingos web` prints."""
    monkeypatch.setenv("LINGOS_HOME", str(tmp_path))
    words = [sys.executable, "-m", "lingos_shell", "web", "--port", "0", "--readonly"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


async def test_the_page_is_served(link: str) -> None:
    """With the key there is a page, and a socket that draws; without it, or from elsewhere, not."""
    origin = link.partition("/?")[0]
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        async with session.get(origin) as refused:
            assert refused.status == 403
        async with session.get(link, headers={"Origin": "http://evil.example"}) as refused:
            assert refused.status == 403
        async with session.get(link, headers={"Host": "evil.example"}) as refused:
            assert refused.status == 403
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=jar) as session:
        async with session.get(link) as page:
            assert page.status == 200
            text = await page.text()
        assert "LingOS" in text
        assert "ws://127.0.0.1" in text
        async with session.get(f"{origin}/static/js/textual.js") as script:
            assert script.status == 200
        drawn = b""
        async with session.ws_connect(f"{origin}/ws?width=100&height=30", origin=origin) as window:
            await window.send_str(json.dumps(["resize", {"width": 100, "height": 30}]))
            while b"LingOS" not in drawn:
                message = await window.receive()
                assert message.type is not aiohttp.WSMsgType.CLOSED
                drawn += message.data if isinstance(message.data, bytes) else b""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "example.org", "::", ""])
def test_other_addresses_are_refused(host: str) -> None:
    """With a hint how to reach it from elsewhere."""
    with pytest.raises(InvalidArguments, match="this machine alone") as caught:
        own_address(host)
    assert "ssh -L" in (caught.value.hint or "")


def test_own_addresses() -> None:
    """Names and numbers of the loopback."""
    assert own_address("localhost") == "127.0.0.1"
    assert own_address("127.0.0.2") == "127.0.0.2"
    assert own_address("[::1]") == "::1"


def test_a_port_that_is_taken() -> None:
    """The error says what to do."""
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(LingOSError, match="cannot be used"):
            listen("127.0.0.1", first.getsockname()[1])


def test_what_a_window_runs() -> None:
    """The settings of the command line go on to each window."""
    line = command_line(is_readonly=True, overrides={"models.default": "a b"})
    assert line.endswith("--set 'models.default=a b' --readonly")
