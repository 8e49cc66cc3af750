"""The notebook kernel: ipykernel's, with the shell's language and an interrupt that is exact."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ipykernel.ipkernel import IPythonKernel
from traitlets import Type

from lingos_kernel import __version__
from lingos_shell.jupyter.assistance import moved
from lingos_shell.jupyter.running import MAIN, RunningWork
from lingos_shell.jupyter.shell import LingOSShell

if TYPE_CHECKING:
    from lingos_shell.jupyter.top_view import TopView

NAME_CHARACTERS = f"{string.ascii_letters}{string.digits}_"


class LingOSKernel(IPythonKernel):  # type: ignore[misc]
    """Runs Python cells that speak the shell's language. The models are in the resident kernel."""

    implementation = "lingos"
    implementation_version = __version__
    shell_class = Type(LingOSShell)

    def __init__(self, **kwargs: Any) -> None:
        self.work = RunningWork()
        self.views: WeakValueDictionary[str, TopView] = WeakValueDictionary()
        """Live views by the id of their comm, until they are closed."""
        super().__init__(**kwargs)
        self._assistance: dict[str, Callable[[str, int], dict[str, Any] | None]] = {
            "complete_request": self._complete_line,
            "inspect_request": self.shell.assistance.inspect,
        }

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
        """Pass a message on to its shell, but for what must not wait for the cell that runs there.

        That is what a live view says, since its buttons stop cells, and what one asks while typing
        a line of the language.
        """
        if not await self._is_dealt_with(msg):
            await super().shell_channel_thread_main(msg)

    async def _is_dealt_with(self, msg: Any) -> bool:
        idents, frames = self.session.feed_identities(msg, copy=False)
        try:
            message = self.session.deserialize(frames, content=False, copy=False)
        except (TypeError, ValueError):
            return False  # ipykernel says what is wrong with it
        return self._is_taken_by_view(message) or await self._is_answered_at_once(idents, message)

    def _is_taken_by_view(self, message: Mapping[str, Any]) -> bool:
        if not self.views or message["header"]["msg_type"] != "comm_msg":
            return False
        content = self.session.unpack(message["content"])
        view, data = self.views.get(content.get("comm_id")), content.get("data", {})
        if view is None or data.get("method") != "custom":
            return False
        view.take(data["content"])
        return True

    async def _is_answered_at_once(self, idents: Any, message: Mapping[str, Any]) -> bool:
        """Answer a question about a line of the language while its shell runs a cell."""
        header = message["header"]
        answer = self._assistance.get(header["msg_type"])
        if answer is None or not self.work.is_busy(header.get("subshell_id") or MAIN):
            return False
        asked = self.session.unpack(message["content"])
        reply = await asyncio.to_thread(answer, asked["code"], asked["cursor_pos"])
        if reply is None:
            return False
        self._publish_status("busy", "shell", message)
        kind = header["msg_type"].replace("_request", "_reply")
        self.session.send(self.shell_stream, kind, reply, message, ident=idents)
        self._publish_status("idle", "shell", message)
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
        cursor = len(code) if cursor_pos is None else min(cursor_pos, len(code))
        found = self._complete_line(code, cursor)
        return found if found is not None else dict(super().do_complete(code, cursor))

    def _complete_line(self, code: str, cursor: int) -> dict[str, Any] | None:
        """As `do_complete`; None outside the language's lines."""
        expression = self.shell.assistance.expression_at(code, cursor)
        if expression is None:
            found: dict[str, Any] | None = self.shell.assistance.complete(code, cursor)
            return found
        reply = super().do_complete(expression, len(expression))
        return moved(reply, cursor - len(expression))

    def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Help on what is at the cursor: a syscall in the language's lines, else Python's."""
        expression = self.shell.assistance.expression_at(code, cursor_pos)
        if expression is None:
            found = self.shell.assistance.inspect(code, cursor_pos)
            if found is not None:
                return dict(found)
        else:
            code, cursor_pos = expression + _rest_of_name(code[cursor_pos:]), len(expression)
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


def _rest_of_name(text: str) -> str:
    return text[: len(text) - len(text.lstrip(NAME_CHARACTERS))]


def _cancel(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
    loop.call_soon_threadsafe(future.cancel)
