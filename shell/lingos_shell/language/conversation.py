"""What was said in a session: kept by the kernel under a name, or only as long as a run lasts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lingos_kernel.client.protocol import KernelClient

NAME_WORDS, NAME_CHARACTERS = 4, 40


@dataclass(slots=True)
class Settings:
    """How the model of a session is to answer; None leaves a choice to the kernel."""

    model: str | None = None
    system: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Other arguments of `llm.chat`: sampling, tools, limits."""


class Conversation(Protocol):
    """Makes the arguments of `llm.chat` for one more message."""

    name: str
    """Under which it can be opened again; empty when it cannot (yet)."""

    async def arguments(
        self, client: KernelClient, text: str, settings: Settings
    ) -> dict[str, Any]:
        """What `llm.chat` needs to answer the text."""

    def answered(self, text: str, result: Mapping[str, Any]) -> None:
        """The text was answered; without this it was never said."""


class PassingConversation:
    """Messages in this process's memory: for scripts and single prompts."""

    def __init__(self) -> None:
        self.name = ""
        self._messages: list[dict[str, Any]] = []

    async def arguments(
        self, _client: KernelClient, text: str, settings: Settings
    ) -> dict[str, Any]:
        """All messages go with each request."""
        system = [_message("system", settings.system)] if settings.system else []
        model = {"model": settings.model} if settings.model else {}
        messages = [*system, *self._messages, _message("user", text)]
        return {**settings.options, **model, "messages": messages}

    def answered(self, text: str, result: Mapping[str, Any]) -> None:
        """Keep both sides."""
        self._messages += [_message("user", text), _message("assistant", str(result["text"]))]


class KeptConversation:
    """A context of the kernel: survives restarts, and is never computed again from its beginning.

    It is made with the first message, and named after it unless it has a name.
    """

    def __init__(self, name: str = "", *, is_new: bool = True) -> None:
        self.name = name
        self._is_new = is_new
        self._model: str | None = None
        """What the context was made or last asked with; None: not known yet."""
        self._system: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether nothing was said yet: the kernel does not know it."""
        return self._is_new

    async def arguments(
        self, client: KernelClient, text: str, settings: Settings
    ) -> dict[str, Any]:
        """Only the new message goes to the kernel. Raises what `ctx.create` raises."""
        if self._is_new:
            await self._begin(client, text, settings)
        elif self._model != settings.model:
            await self._change_model(client, settings.model)
        messages = [_message("user", text)]
        if settings.system and settings.system != self._system:
            messages.insert(0, _message("system", settings.system))
            self._system = settings.system
        return {**settings.options, "context": self.name, "messages": messages}

    def answered(self, text: str, result: Mapping[str, Any]) -> None:
        """The kernel has kept both sides."""

    async def _begin(self, client: KernelClient, text: str, settings: Settings) -> None:
        taken = {str(context["name"]) for context in await client.call("ctx.list")}
        name = self.name or free_name(name_of(text), taken)
        system = [_message("system", settings.system)] if settings.system else None
        await client.call("ctx.create", name=name, messages=system, model=settings.model)
        self.name, self._is_new = name, False
        self._model, self._system = settings.model, settings.system

    async def _change_model(self, client: KernelClient, model: str | None) -> None:
        """Go on with another model: what was said is put into its tokens.

        The old context keeps its name until the new one is whole.
        """
        shown = await client.call("ctx.show", name=self.name)
        wanted = model or (await client.call("model.show"))["name"]
        if shown["model"] != wanted:
            said = [{k: m[k] for k in ("role", "content")} for m in shown["messages"]]
            listed = {str(context["name"]) for context in await client.call("ctx.list")}
            draft = free_name(f"{self.name}@{wanted}", listed)
            sure = client.with_options(confirmed=True)
            await client.call("ctx.create", name=draft, messages=said, model=wanted)
            await sure.call("ctx.remove", name=self.name)
            await client.call("ctx.fork", name=draft, to=self.name)
            await sure.call("ctx.remove", name=draft)
        self._model = model


def name_of(text: str) -> str:
    """A name made of the first words of a text."""
    words = re.findall(r"\w+", text.lower())[:NAME_WORDS]
    return "-".join(words)[:NAME_CHARACTERS].strip("-") or "session"


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it when it is taken."""
    name = name[:120]
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
