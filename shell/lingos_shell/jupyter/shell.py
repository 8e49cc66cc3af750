"""IPython's shell with the language in it: what the rewritten cells call."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.error import StdinNotImplementedError
from traitlets import Instance

from lingos_kernel.errors import Cancelled, LingOSError
from lingos_shell.jupyter.assistance import Assistance
from lingos_shell.jupyter.bridge import Bridge
from lingos_shell.jupyter.cells import CellTransformer, call_source
from lingos_shell.jupyter.context_values import context_value
from lingos_shell.jupyter.question import Question

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_shell.jupyter.cell_output import CellOutput
    from lingos_shell.jupyter.session import NotebookSession
    from lingos_shell.language.sink import ShellEvent

Events = queue.SimpleQueue["ShellEvent | Question | None"]
STREAM_VARIABLE = "LINGOS_NOTEBOOK_STREAM"
"""0 shows answers only when they are whole: for notebooks that a program runs."""


class LingOSShell(ZMQInteractiveShell):  # type: ignore[misc]
    """Runs the language's lines of a cell on the cell's own thread, the calls on the bridge's."""

    input_transformer_manager = Instance(CellTransformer, ())

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = Path(os.environ.get("JPY_SESSION_NAME", "notebook")).name
        self.bridge = Bridge(_connect, f"notebook {name}")
        self.assistance = Assistance(self)
        self._session: NotebookSession | None = None
        self.register_magic_function(self._chat_cell, "cell", "chat")

    # What rewritten cells call

    def lingos(self, text: str, values: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        """Run a line of the language and show what comes. Raises its `LingOSError`."""
        self._run(text, values, names, is_script=True)

    def lingos_value(self, text: str, values: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
        """Run a line of the language; its value. Raises its `LingOSError`."""
        return self._run(text, values, names, is_script=True, is_quiet=True)

    def lingos_talk(
        self, text: str, values: Mapping[str, Any], names: Mapping[str, Any], *, options: str = ""
    ) -> None:
        """Say something to the session's model and show its answer. Raises `LingOSError`.

        `options` are settings for this message, as `parse_chat_options` reads them.
        """
        self._run(text, values, names, is_script=False, options=options)

    def lingos_help(self, text: str, _values: Any, _names: Any) -> None:
        """Show the help page of `/name?` in the notebook's pager. Raises `UnknownSyscall`."""
        page = self.bridge.submit(self.session.help(text.strip("/?"))).result()
        self.payload_manager.write_payload(
            {"source": "page", "data": {"text/plain": page}, "start": 0}
        )

    def _chat_cell(self, line: str, cell: str) -> None:
        """Say the cell's text to the session's model, with the line's settings: `--temperature 0`.

        Cells do not come here; `CellTransformer` knows this form. Code may.
        """
        self.ev(call_source("lingos_talk", cell.strip(), options=line.strip()))

    def _run(
        self,
        text: str,
        values: Mapping[str, Any],
        names: Mapping[str, Callable[[], Any]],
        *,
        is_script: bool,
        is_quiet: bool = False,
        options: str = "",
    ) -> Any:
        # Cells of plain Python need none of it, and the first one should not wait for it.
        from lingos_shell.jupyter.cell_output import CellOutput
        from lingos_shell.jupyter.publisher import CellPublisher

        variables = {name: context_value(value) for name, value in values.items()}
        for name, look_up in names.items():
            try:
                variables[name] = context_value(look_up())
            except NameError:
                continue  # it may be a variable of the language
        events: Events = queue.SimpleQueue()
        session = self.session
        work = session.run(text, variables, events.put, is_script=is_script, options=options)
        future = self.bridge.submit(work)
        future.add_done_callback(lambda _: events.put(None))
        output = CellOutput(
            CellPublisher(self, is_quiet=is_quiet),
            time.monotonic,
            streams=session.streams,
            answers=session.answers,
        )
        with self.kernel.work.stoppable(self.kernel.shell_id(), future.cancel):
            return self._followed(future, events, output)

    def _followed(self, future: Future[Any], events: Events, output: CellOutput) -> Any:
        """Show events until the run ends; its value. Raises what it raised, or `KeyboardInterrupt`.

        Once the wait is left, the call in the kernel is over or being cancelled.
        """
        try:
            while (event := _next(events, output)) is not None:
                if isinstance(event, Question):
                    event.answer(self._is_yes(event))
                else:
                    output.show(event)
            value = future.result()
        except (KeyboardInterrupt, CancelledError):
            future.cancel()
            output.close(was_stopped=True)
            raise _without_trace(KeyboardInterrupt("stopped")) from None
        except LingOSError as error:
            output.close(was_stopped=isinstance(error, Cancelled))
            raise _without_trace(error, *_hint(error)) from None
        output.close()
        return value

    def _is_yes(self, question: Question) -> bool:
        """Ask the person; no, where the front end cannot."""
        given = ", ".join(f"{name}={value!r}" for name, value in question.arguments.items())
        try:
            answer = self.kernel.raw_input(f"{question.name}({given}): run it? [y/N] ")
        except StdinNotImplementedError:
            return False
        return answer.strip().lower() in ("y", "yes")

    # What the notebook asks about

    @property
    def session(self) -> NotebookSession:
        """The session that the cells speak in."""
        if self._session is None:
            from lingos_shell.jupyter.session import NotebookSession

            self._session = NotebookSession(self.bridge, streams=_streams())
        return self._session

    def leave(self) -> None:
        """End what runs in the background and leave the kernel."""
        if self._session is not None:
            self.assistance.answer(self._session.close())
        self.bridge.close()


def _next(events: Events, output: CellOutput) -> ShellEvent | Question | None:
    """The next event; what streams is refreshed while none comes. None: the run has ended."""
    while True:
        try:
            return events.get(timeout=output.due_s)
        except queue.Empty:
            output.refresh()


def _streams() -> bool:
    return os.environ.get(STREAM_VARIABLE, "").lower() not in ("0", "false", "no")


E = TypeVar("E", bound=BaseException)


def _without_trace(error: E, *more: str) -> E:
    """The error, of which IPython shows one line and these.

    Its own trace would show this file, and take 30 to 130 ms to draw.
    """
    lines = [f"{type(error).__name__}: {getattr(error, 'message', error)}", *more]
    vars(error)["_render_traceback_"] = lambda: lines
    return error


def _hint(error: LingOSError) -> list[str]:
    return [f"hint: {error.hint}"] if error.hint else []


async def _connect() -> KernelClient:
    from lingos_kernel.client.connect import connect

    return await connect()
