"""Loaders of plugins, and of addresses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lingos_kernel import Register, hookimpl
from lingos_kernel.config import PluginsConfig
from lingos_kernel.errors import DownloadFailed, UnknownName
from lingos_kernel.plugin_records import Candidate
from lingos_kernel.plugins import PluginHost
from lingos_kernel.registry import Registry
from lingos_shell.language import loaders
from lingos_shell.language.loaders import Loaders


async def load_issue(what: str) -> str:
    """An issue by its number."""
    return f"issue {what}"


class Plugin:
    """Registers a loader."""

    @hookimpl
    def lingos_register_loaders(self, register: Register) -> None:
        """The hook."""
        register.add(load_issue, name="issue")


def plugged(calls: list[int]) -> dict[str, Any]:
    """The loaders of an installed plugin."""
    calls.append(1)
    registry = Registry("loader")
    found = [Candidate("tracker", "tracker", "1.0", "tracker", Plugin)]
    host = PluginHost(PluginsConfig(), find=lambda: found)
    host.attach("loaders", registry)
    host.load()
    return dict(registry.items)


async def test_plugins_are_asked_for_names_that_are_not_built_in() -> None:
    """They are imported once, and only then."""
    calls: list[int] = []
    found = Loaders(lambda: plugged(calls))
    assert "def test_" in await found.load(__file__)
    assert calls == []
    assert await found.load("7", "issue") == "issue 7"
    assert set(await found.all()) == {"file", "url", "issue"}
    with pytest.raises(UnknownName, match="no loader is called isue") as caught:
        await found.load("7", "isue")
    assert "issue" in caught.value.hint
    assert calls == [1]


async def test_addresses_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, within the limit; a failure names the address."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/long":
            return httpx.Response(200, content=b"x" * (loaders.MAX_BYTES + 1))
        return httpx.Response(200 if request.url.path == "/page" else 404, text="Seite: ü")

    class Client(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            """Without a network."""
            super().__init__(transport=httpx.MockTransport(answer), **options)

    monkeypatch.setattr(httpx, "AsyncClient", Client)
    assert await Loaders().load("https://example.org/page") == "Seite: ü"
    with pytest.raises(DownloadFailed, match="404"):
        await Loaders().load("https://example.org/nothing")
    with pytest.raises(Exception, match="more than 4 MiB"):
        await Loaders().load("https://example.org/long", "url")
