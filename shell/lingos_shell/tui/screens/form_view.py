"""The form of a syscall as widgets: a line, a choice or a few lines per argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.validation import Validator
from textual.widget import Widget
from textual.widgets import Input, Label, Select, TextArea

from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.tui.screens.form import Field, fields_of

_INPUT_TYPES: Mapping[str, Literal["integer", "number", "text"]] = {
    "integer": "integer", "number": "number",
}  # fmt: skip


class FieldView(Vertical):
    """One argument: its name, its meaning, and where its value is typed."""

    DEFAULT_CSS = """
    FieldView { height: auto; margin-bottom: 1; }
    FieldView > .about { color: $foreground 62%; height: auto; }
    FieldView > .wrong { color: $error; display: none; height: auto; }
    FieldView.wrong > .wrong { display: block; }
    FieldView TextArea { height: auto; min-height: 1; max-height: 6; border: none; padding: 0 1;
        background: $surface; }
    FieldView Input { background: $surface; border: none; height: 1; padding: 0 1; }
    FieldView Input:focus, FieldView TextArea:focus { background: $panel; }
    FieldView Select { height: auto; width: 40; max-width: 100%; }
    """

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def compose(self) -> ComposeResult:
        """Head, value, what is wrong."""
        field = self.field
        mark = " *" if field.is_required else ""
        about = f"  {field.about}" if field.about else ""
        yield Label(f"{field.name}{mark}  {field.type}{about}", classes="about", markup=False)
        yield self._editor()
        yield Label("", classes="wrong", markup=False)

    def _editor(self) -> Widget:
        field = self.field
        hint = f"default: {field.default}" if field.default else "required"
        hint = hint if field.default or field.is_required else "optional"
        label = f"{field.name}, {field.type}"
        if field.kind == "choice":
            return Select(
                [(choice, choice) for choice in field.choices],
                prompt=hint, compact=True, name=label,
            )  # fmt: skip
        if field.kind in ("text", "json"):
            return TextArea(
                placeholder=f"{hint}; @file takes a file's text", tab_behavior="focus",
                name=label, compact=True,
            )  # fmt: skip
        return Input(
            placeholder=hint, type=_INPUT_TYPES.get(field.kind, "text"), validators=_NONE,
            compact=True, name=label,
        )  # fmt: skip

    @property
    def editor(self) -> Widget:
        """Where the value is typed."""
        return self.children[1]

    @property
    def text(self) -> str:
        """What was typed."""
        editor: Any = self.editor
        if isinstance(editor, Select):
            return "" if editor.is_blank() else str(editor.value)
        return str(editor.text if isinstance(editor, TextArea) else editor.value)

    def say(self, wrong: str) -> None:
        """Tell what is wrong; empty: nothing."""
        self.set_class(bool(wrong), "wrong")
        label = self.children[2]
        assert isinstance(label, Label)
        label.update(wrong)


_NONE: Iterable[Validator] = ()


class FormView(Vertical):
    """All arguments of a syscall."""

    DEFAULT_CSS = "FormView { height: auto; margin-top: 1; }"

    def __init__(self, info: SyscallInfo) -> None:
        super().__init__()
        self.info = info

    def compose(self) -> ComposeResult:
        """One field per argument."""
        fields = fields_of(self.info)
        for field in fields:
            yield FieldView(field)
        if not fields:
            yield Label("it takes no arguments", classes="about", markup=False)

    @property
    def typed(self) -> dict[str, str]:
        """What was typed, by argument."""
        return {view.field.name: view.text for view in self.query(FieldView)}

    def say(self, wrong: Mapping[str, str]) -> None:
        """Tell what is wrong, and go to the first such field."""
        for view in self.query(FieldView):
            view.say(wrong.get(view.field.name, ""))
        first = next((v for v in self.query(FieldView) if v.field.name in wrong), None)
        if first is not None:
            first.editor.focus()

    def begin(self) -> None:
        """Go to the first field."""
        for view in self.query(FieldView):
            view.editor.focus()
            return
