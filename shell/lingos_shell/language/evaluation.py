"""Words become values: variables are looked up, loads are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingos_kernel.errors import UnknownName
from lingos_kernel.names import did_you_mean
from lingos_shell.language.binding import Given
from lingos_shell.language.loaders import Loaders, is_there
from lingos_shell.language.printer import load_source, variable_source
from lingos_shell.language.sink import Narration, Sink
from lingos_shell.language.syntax import Argument, Keyed, Load, Option, Text, Variable, Word
from lingos_shell.language.values import dig, text_of


class Evaluation:
    """Replaces what words refer to, for one run."""

    def __init__(self, variables: Mapping[str, Any], loaders: Loaders, sink: Sink) -> None:
        self._variables = variables
        self._loaders = loaders
        self._sink = sink

    async def value(self, word: Word) -> tuple[Any, bool]:
        """The value of a word, and whether it was typed as text. Raises `UnknownName` and more."""
        match word.parts:
            case (Variable() as variable,):
                return self.variable(variable), False
            case (Load(what, loader),):
                return await self._loaders.load(what, loader), False
        return "".join([await self._text(part) for part in word.parts]), True

    async def given(self, argument: Argument) -> Given:
        """An argument with its value."""
        match argument:
            case Option(name, None):
                return Given(None, is_typed=True, name=name, kind="option")
            case Option(name, Word() as word):
                value, is_typed = await self.value(word)
                return Given(value, is_typed=is_typed, name=name, kind="option")
            case Keyed(name, word):
                value, is_typed = await self.value(word)
                return Given(value, is_typed=is_typed, name=name, kind="keyed")
            case Word():
                value, is_typed = await self.value(argument)
                return Given(value, is_typed=is_typed)
        raise ValueError(f"{argument} is no argument")

    async def message(self, word: Word) -> str:
        """A message for the model: loaded texts come first, each under its name.

        In a message an unknown `$name`, and an `@name` that names nothing, are plain text.
        """
        loaded: list[str] = []
        said: list[str] = []
        for part in word.parts:
            match part:
                case Text(text):
                    said.append(text)
                case Variable(name) if name not in self._variables:
                    said.append(variable_source(part))
                case Variable():
                    said.append(text_of(self.variable(part)))
                case Load(what, loader) if loader or is_there(what):
                    loaded.append(f"{what}:\n{await self._loaders.load(what, loader)}")
                    said.append(what)
                case Load(what):
                    said.append(load_source(part))
                    if "." in what or "/" in what:
                        told = f"@{what} names no file: it was sent as text"
                        await self._sink.show(Narration(told))
        return "\n\n".join([*loaded, *filter(None, ["".join(said)])])

    def variable(self, variable: Variable) -> Any:
        """The value of a variable, or a part of it. Raises `UnknownName`."""
        if variable.name not in self._variables:
            known = [f"${name}" for name in self._variables]
            raise UnknownName(
                f"there is no variable ${variable.name}",
                hint=did_you_mean(
                    f"${variable.name}", known, otherwise="/vars lists them; \\$ is a plain $"
                ),
            )
        return dig(self._variables[variable.name], variable.path, variable.name)

    async def _text(self, part: Text | Variable | Load) -> str:
        match part:
            case Text(text):
                return text
            case Variable():
                return text_of(self.variable(part))
            case Load(what, loader):
                return await self._loaders.load(what, loader)
