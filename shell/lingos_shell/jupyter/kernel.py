"""The notebook kernel: ipykernel's, with the shell's language and an interrupt that is exact."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from traitlets import Type

from lingos_kernel import __version__
from lingos_shell.jupyter.running import MAIN, RunningWork
from lingos_shell.jupyter.shell import LingOSShell

if TYPE_CHECKING:
    from lingos_shell.jupyter.top_view import TopView


class LingOSKernel(IPythonKernel):  # type: ignore[misc]
    """Runs Python cells that speak the shell's language. The models are in the resident kernel."""

    implementation = "lingos"
    implementation_version = __version__
    shell_class = Type(LingOSShell)

    def __init__(self, **kwargs: Any) -> None:
        self.work = RunningWork()
        self.views: dict[str, TopView] = {}
        """Live views by the id of their comm."""
        super().__init__(**kwargs)

    @property
    def banner(self) -> str:
        """What a console shows at the start."""
        python = super().banner or ""
        return f"LingOS {__version__}: /help lists what a line may begin with\n{python}"

    def shell_id(self) -> str:
        """Which shell the calling thread runs a cell of."""
        parent = self.get_parent() or {}
        return parent.get("header", {}).get("subshell_id") or MAIN

    async def do_execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run a cell; the shell counts as busy meanwhile."""
        with self.work.cell(self.shell_id()):
            return await super().do_execute(*args, **kwargs)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Mapping[str, Any]) -> None:
        """Stop the answer or the await that is meant; plain Python gets the signal.

        Runs on the control thread. A subshell is meant when the request's header names it.
        """
        shell = parent["header"].get("subshell_id") or MAIN
        if self.work.interrupt(shell):
            self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
            return
        await super().interrupt_request(stream, ident, parent)

    async def shell_channel_thread_main(self, msg: Any) -> None:
        """Pass a message on to its shell; what a live view says is taken at once.

        Its buttons have to work while the shell runs a cell: that is what they stop.
        """
        if not self._is_taken_by_view(msg):
            await super().shell_channel_thread_main(msg)

    def _is_taken_by_view(self, msg: Any) -> bool:
        if not self.views:
            return False
        _, frames = self.session.feed_identities(msg, copy=False)
        message = self.session.deserialize(frames, content=False, copy=False)
        if message["header"]["msg_type"] != "comm_msg":
            return False
        content = self.session.unpack(message["content"])
        view, data = self.views.get(content.get("comm_id")), content.get("data", {})
        if view is None or data.get("method") != "custom":
            return False
        view.take(data["content"])
        return True

    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> AbstractContextManager[None]:
        """Within the block a signal, or an interrupt of this shell, cancels the future."""
        return self._stoppable(future, super()._cancel_on_sigint(future))

    def _dummy_context_manager(self, *args: Any) -> AbstractContextManager[None]:
        """As `_cancel_on_sigint`, for subshells: signals do not reach their threads."""
        return self._stoppable(args[0], super()._dummy_context_manager(*args))

    @contextmanager
    def _stoppable(
        self, future: asyncio.Future[Any], within: AbstractContextManager[None]
    ) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        with (
            within,
            self.work.stoppable(self.shell_id(), partial(_cancel, loop, future)),
        ):
            yield

    def do_is_complete(self, code: str) -> dict[str, Any]:
        """Whether the cell can run; an open block of the language wants more lines."""
        if self.shell.input_transformer_manager.is_open(code):
            return {"status": "incomplete", "indent": ""}
        return dict(super().do_is_complete(code))

    def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """What may stand at the cursor: words of the language in its lines, else Python's."""
        cursor = len(code) if cursor_pos is None else cursor_pos
        found = self.shell.complete_language(code, cursor)
        return found if found is not None else dict(super().do_complete(code, cursor))

    def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Help on what is at the cursor: a syscall in the language's lines, else Python's."""
        text = self.shell.help_at(code, cursor_pos)
        if text is not None:
            data = {"text/plain": text, "text/markdown": text}
            return {"status": "ok", "found": True, "data": data, "metadata": {}}
        return dict(super().do_inspect(code, cursor_pos, detail_level, omit_sections))

    def do_history(self, hist_access_type: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Earlier cells; those of this session under its number, which IPython calls 0."""
        reply = dict(super().do_history(hist_access_type, *args, **kwargs))
        current = self.shell.history_manager.session_number
        reply["history"] = [(session or current, *rest) for session, *rest in reply["history"]]
        return reply

    async def do_shutdown(self, restart: bool) -> Any:
        """Leave the resident kernel, then end."""
        self.shell.leave()
        return super().do_shutdown(restart)


def _cancel(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
    loop.call_soon_threadsafe(future.cancel)
