"""The prompt: editing, completion, history, keys, the toolbar below."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer
from prompt_toolkit.completion import Completion as MenuRow
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, completion_is_selected
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from lingos_shell.language.parser import needs_more

if TYPE_CHECKING:
    from lingos_shell.language.interpreter import Interpreter

PROMPT, CONTINUATION = "> ", "… "
STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse bg:ansibrightblack ansiwhite",
        "prompt": "bold ansicyan",
        "call": "ansicyan",
        "host": "ansiyellow",
        "reference": "ansimagenta",
        "comment": "ansibrightblack",
    }
)
_TOKENS = re.compile(
    r"(?P<call>(?:^|(?<=\|)\s*|(?<==)\s*)/[\w.-]+)|(?P<reference>(?<!\S)@\S+|\$\{?[A-Za-z_][\w.]*\}?)"
)


class PrivateHistory(FileHistory):
    """A history file for its owner alone; lines that begin with a blank are not kept."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
        super().__init__(str(path))

    def store_string(self, string: str) -> None:
        """Append a line; a full disk must not cost the person the session."""
        if not string.startswith(" "):
            super().store_string(string.encode(errors="replace").decode())


class LanguageCompleter(Completer):
    """Proposals of the interpreter, with their help."""

    def __init__(self, shell: Interpreter) -> None:
        self._shell = shell

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[MenuRow]:  # noqa: ARG002  # prompt_toolkit's signature
        """Nothing: the kernel is asked asynchronously."""
        return []

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002  # prompt_toolkit's signature
    ) -> AsyncGenerator[MenuRow, None]:
        """What could stand at the cursor."""
        text = document.text_before_cursor
        for found in await self._shell.complete(text):
            yield MenuRow(
                found.text, start_position=found.start - len(text), display_meta=found.help
            )


class LanguageLexer(Lexer):
    """Colours for calls, host commands, variables and loads."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The coloured parts of each line."""
        lines = document.lines

        def coloured(number: int) -> StyleAndTextTuples:
            return _coloured(lines[number]) if number < len(lines) else []

        return coloured


def _coloured(line: str) -> StyleAndTextTuples:
    if line.startswith(("!", "#")):
        return [("class:host" if line[0] == "!" else "class:comment", line)]
    parts: StyleAndTextTuples = []
    at = 0
    for found in _TOKENS.finditer(line):
        parts += [("", line[at : found.start()]), (f"class:{found.lastgroup}", found[0])]
        at = found.end()
    return [*parts, ("", line[at:])]


class Prompt:
    """Reads what the person types. Ctrl-C empties the line, Ctrl-D on an empty one leaves."""

    def __init__(
        self,
        shell: Interpreter,
        history: Path,
        *,
        toolbar: Callable[[], str],
        editing: str,
        has_colour: bool,
    ) -> None:
        """`editing`: emacs or vi."""
        self._toolbar = toolbar
        self._note = ""
        self._is_multi_line = False
        self.session: PromptSession[str] = PromptSession(
            multiline=True,
            completer=LanguageCompleter(shell),
            complete_while_typing=True,
            auto_suggest=AutoSuggestFromHistory(),
            history=PrivateHistory(history),
            lexer=LanguageLexer() if has_colour else None,
            style=STYLE if has_colour else None,
            color_depth=None if has_colour else ColorDepth.DEPTH_1_BIT,
            include_default_pygments_style=False,
            bottom_toolbar=self._bottom,
            key_bindings=merge_key_bindings([self._sending_keys(), self._other_keys()]),
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            editing_mode=EditingMode.VI if editing == "vi" else EditingMode.EMACS,
            prompt_continuation=lambda width, _number, _wrapped: CONTINUATION[-width:],
            enable_suspend=True,
        )

    async def read(self, pre_run: Callable[[], None] | None = None) -> str:
        """One message; raises `EOFError` when the person leaves. `pre_run`: once it is drawn."""
        self._note = ""
        return await self.session.prompt_async([("class:prompt", PROMPT)], pre_run=pre_run)

    def redraw(self) -> None:
        """Draw the toolbar again."""
        if self.session.app.is_running:
            self.session.app.invalidate()

    def _bottom(self) -> str:
        mode = "vi" if get_app().editing_mode is EditingMode.VI else "emacs"
        lines = "  multi-line: Alt-Enter sends" if self._is_multi_line else ""
        return f" {self._note or self._toolbar()}  {mode}{lines}"

    def _sending_keys(self) -> KeyBindings:
        """Enter sends, unless more is to come; Alt-Enter and F3 change that."""
        keys = KeyBindings()

        @keys.add("enter", filter=~completion_is_selected)
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if self._is_multi_line or needs_more(buffer.text):
                buffer.newline(copy_margin=False)
            else:
                buffer.validate_and_handle()

        @keys.add("enter", filter=completion_is_selected)
        def _take(event: KeyPressEvent) -> None:
            event.current_buffer.complete_state = None

        @keys.add("escape", "enter")
        def _alt_enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            buffer.validate_and_handle() if self._is_multi_line else buffer.newline(
                copy_margin=False
            )

        @keys.add("f3")
        def _multi_line(_event: KeyPressEvent) -> None:
            self._is_multi_line = not self._is_multi_line

        return keys

    def _other_keys(self) -> KeyBindings:
        """F4 changes between emacs and vi; Ctrl-C and Ctrl-D."""
        keys = KeyBindings()

        @keys.add("f4")
        def _mode(event: KeyPressEvent) -> None:
            is_vi = event.app.editing_mode is EditingMode.VI
            event.app.editing_mode = EditingMode.EMACS if is_vi else EditingMode.VI

        @keys.add("<sigint>")
        @keys.add("c-c", eager=True)
        def _interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._note = "nothing runs; Ctrl-D leaves"

        @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
        def _leave(event: KeyPressEvent) -> None:
            event.app.exit(exception=EOFError)

        @keys.add("<any>", filter=Condition(lambda: bool(self._note)))
        def _typed(event: KeyPressEvent) -> None:
            self._note = ""
            event.current_buffer.insert_text(event.data)

        return keys


def has_colour() -> bool:
    """Whether colours are wanted: https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
