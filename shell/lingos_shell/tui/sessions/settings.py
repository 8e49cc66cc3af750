"""How the model of a session answers: model, system prompt, sampling, in one window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Select, Static

from lingos_kernel.errors import LingOSError
from lingos_shell.language.builtin import BUILT_IN, Request
from lingos_shell.language.values import text_of
from lingos_shell.tui.spans import clean

if TYPE_CHECKING:
    from lingos_shell.language.interpreter import Interpreter
    from lingos_shell.language.sink import ShellEvent

FIELDS: tuple[tuple[str, str], ...] = (
    ("system", "what the model is to be or to know"),
    ("temperature", "0 is always the likeliest token"),
    ("top_p", "share of the likeliest tokens to draw from"),
    ("max_tokens", "of one answer"),
    ("seed", "the same answer each time"),
    ("tools", "syscalls the model may call, such as text.*"),
)
DEFAULT = "(the kernel's default)"


class _Quiet:
    """A sink for words whose effect is seen in the window."""

    async def show(self, event: ShellEvent) -> None:
        """Nothing to show."""

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Nothing asks."""
        raise AssertionError(f"{name} {arguments} is no word")


class SettingsDialog(ModalScreen[None]):
    """Each field holds as soon as Enter is pressed in it; an empty one is given up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="dialog.close")
    ]
    DEFAULT_CSS = """
    SettingsDialog .dialog { width: 80%; max-width: 96; }
    SettingsDialog Horizontal { height: auto; }
    SettingsDialog VerticalScroll { height: auto; max-height: 22; }
    SettingsDialog .dialog Label { width: 16; padding: 0 1; color: $foreground 62%; }
    SettingsDialog Input { width: 1fr; border: none; height: 1; padding: 0 1; }
    SettingsDialog Select { width: 1fr; }
    SettingsDialog #told { color: $error; padding: 0 1; height: auto; }
    """

    def __init__(self, shell: Interpreter, models: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self._shell = shell
        self._names = [str(m["name"]) for m in models if m.get("kind") != "encoder"]

    def compose(self) -> ComposeResult:
        """A field per setting, filled with what is set."""
        settings = self._shell.settings
        chosen = settings.model if settings.model in self._names else None
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "How the model answers"
            dialog.border_subtitle = "Enter takes a field · Esc closes"
            with VerticalScroll(can_focus=False):
                with Horizontal():
                    yield Label("model")
                    yield Select(
                        [(clean(name), name) for name in self._names],
                        prompt=DEFAULT,
                        compact=True,
                        id="model",
                        **({"value": chosen} if chosen else {}),  # type: ignore[arg-type]
                    )
                for name, about in FIELDS:
                    value = settings.system if name == "system" else settings.options.get(name)
                    with Horizontal():
                        yield Label(name)
                        yield Input(
                            "" if value is None else _typed(value),
                            placeholder=about,
                            compact=True,
                            id=name,
                            name=name,
                        )
                yield Static("", id="told", markup=False)

    @on(Input.Submitted)
    async def _take(self, event: Input.Submitted) -> None:
        event.stop()
        await self._set(str(event.input.id), event.value.strip())

    @on(Input.Blurred)
    async def _leave(self, event: Input.Blurred) -> None:
        event.stop()
        await self._set(str(event.input.id), event.value.strip())

    @on(Select.Changed)
    async def _model(self, event: Select.Changed) -> None:
        event.stop()
        self._shell.settings.model = event.value if isinstance(event.value, str) else None

    async def _set(self, name: str, value: str) -> None:
        """As `/set` and `/unset` do it; what is wrong stands below the fields."""
        settings = self._shell.settings
        told = ""
        if value:
            arguments = {"name": name, "value": value}
            try:
                await BUILT_IN["set"].run(Request(self._shell, arguments, _Quiet()))
            except LingOSError as error:
                told = f"{error.message}\n{error.hint}".strip()
        elif name == "system":
            settings.system = None
        else:
            settings.options.pop(name, None)
        self.query_one("#told", Static).update(told)


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return text_of(value)
