"""`ctx.*`: conversations as files: made, forked at any token, cut, saved, opened, removed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from lingos_kernel.builtins.chat import Message
from lingos_kernel.builtins.context_use import Draft, check_model, find_model, use_context
from lingos_kernel.builtins.holds import LONGEST_HOLD_S
from lingos_kernel.builtins.passage import Passage
from lingos_kernel.builtins.services import Services, pull_progress
from lingos_kernel.builtins.transcript import Transcript, shown_messages
from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.errors import InvalidArguments, NotPermitted
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.processes import context_file
from lingos_kernel.processes.context_file import SavedContext
from lingos_kernel.processes.contexts import EMPTY, Conversation, Head, check_name
from lingos_kernel.syscalls.spec import Context, syscall

FILES = "ctx.files"
"""The capability to save to and open from any path."""

Name = Annotated[str, Field(description="the context's name, unique within the tenant")]
At = Annotated[int | None, Field(ge=0, description="the token to cut at; the end when not given")]


class ContextSyscalls:
    """Contexts belong to who made them; shared ones can be read and forked within the tenant."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("ctx.create", cost="io")
    async def create(
        self,
        context: Context,
        name: Name,
        messages: list[Message] | None = None,
        text: str | None = None,
        model: Annotated[str | None, Field(description="the default when not given")] = None,
        shared: bool = False,
    ) -> dict[str, Any]:
        """Make a context that llm.chat and llm.complete can go on with; it survives restarts.

        Args:
            messages: a conversation to begin with.
            text: or a text, for llm.complete.
            shared: let others of the tenant read and fork it.
        """
        check_name(name)
        residency = self._services.residency
        stored = await residency.find(model, on_progress=pull_progress(context))
        codec = await residency.codec(stored)
        draft = await _extended(codec, EMPTY, name, messages, text)
        head = await self._services.contexts.create(
            name,
            context.principal,
            model=stored.name,
            model_id=stored.id,
            tokens=draft.tokens,
            entries=draft.entries,
            is_shared=shared,
        )
        return describe(head)

    @syscall("ctx.append", cost="io")
    async def append(
        self,
        context: Context,
        name: Name,
        messages: list[Message] | None = None,
        text: str | None = None,
    ) -> dict[str, Any]:
        """Add messages, or a piece of text, without asking the model for an answer.

        Args:
            messages: what was said.
            text: or a text, as it stands.
        """
        async with use_context(self._services, context, name) as use:
            if known := await use.begin("ctx.append", messages, text):
                return known
            draft = await _extended(use.codec, use.conversation, name, messages, text)
            return await use.write(draft)

    @syscall("ctx.fork", cost="io")
    async def fork(
        self, context: Context, name: Name, to: str, at: At = None, shared: bool = False
    ) -> dict[str, Any]:
        """Make a context that goes on from another one; nothing is copied or computed again.

        Args:
            to: the name of the fork.
            shared: let others of the tenant read and fork it.
        """
        head = await self._services.contexts.fork(
            name, to, context.principal, at=at, is_shared=shared
        )
        return describe(head)

    @syscall("ctx.truncate", cost="io")
    async def truncate(
        self, context: Context, name: Name, at: Annotated[int, Field(ge=0)]
    ) -> dict[str, Any]:
        """Let a context end at a token; forks keep what they hold.

        Args:
            at: how many tokens to keep.
        """
        return describe(await self._services.contexts.truncate(name, at, context.principal))

    @syscall("ctx.share", cost="io")
    async def share(self, context: Context, name: Name, shared: bool = True) -> dict[str, Any]:
        """Let others of the tenant read and fork a context, or keep it private again.

        Args:
            shared: whether they may.
        """
        return describe(await self._services.contexts.share(name, shared, context.principal))

    @syscall("ctx.list", cost="io")
    async def list_all(self, context: Context) -> list[dict[str, Any]]:
        """List the contexts that the caller may read."""
        return [describe(head) for head in await self._services.contexts.heads(context.principal)]

    @syscall("ctx.show", cost="io")
    async def show(self, context: Context, name: Name, token_ids: bool = False) -> dict[str, Any]:
        """Show what a context holds, with the token at which each message ends.

        Args:
            token_ids: also list all its tokens.
        """
        loaded = await self._services.contexts.load(name, context.principal)
        stored = check_model(self._services, loaded.head)
        codec = await self._services.residency.codec(stored)
        shown = await asyncio.to_thread(lambda: list(shown_messages(codec, loaded.conversation)))
        described = describe(loaded.head)
        described["messages"] = [
            {**message, "end": end, "whole": whole} for message, end, whole in shown
        ]
        if token_ids:
            described["token_ids"] = loaded.conversation.tokens.tolist()
        return described

    @syscall("ctx.hold", cost="engine")
    async def hold(
        self,
        call: Context,
        name: Name,
        seconds: Annotated[float, Field(gt=0, le=LONGEST_HOLD_S)] = 60.0,
    ) -> dict[str, Any]:
        """Keep the pages of a context in memory for a while, so that its next turn begins at once.

        Pages that are missing are computed. Every turn on the context holds what it adds, too. A
        hold counts against the page limits of the caller's process, ends with it, and gives way
        to more urgent work when memory is short.

        Args:
            seconds: for how long.
        """
        services = self._services
        async with use_context(services, call, name, hold_s=seconds) as use:
            tokens = list(use.tokens)
            if tokens:
                resident = await services.residency.ensure(use.model)
                await services.generator.run(call, resident, tokens, SamplingParams(max_tokens=0))
        hold = services.holds.of_context(call.principal.tenant, name)
        pages = await hold.pages if hold else 0
        return {"name": name, "tokens": len(tokens), "pages": pages, "seconds": seconds}

    @syscall("ctx.release", cost="io")
    async def release(self, context: Context, name: Name) -> dict[str, Any]:
        """End the hold of a context; its pages stay as long as nobody needs the memory."""
        head = await self._services.contexts.head(name, context.principal)
        head.check_writable(context.principal)
        hold = self._services.holds.of_context(context.principal.tenant, name)
        self._services.holds.release(hold)
        return {"name": name, "released": hold is not None}

    @syscall("ctx.remove", cost="io", confirm=True)
    async def remove(self, context: Context, name: Name) -> dict[str, Any]:
        """Forget a context for good; forks and saved files stay."""
        await self._services.contexts.remove(name, context.principal)
        holds = self._services.holds
        holds.release(holds.of_context(context.principal.tenant, name))
        return {"removed": name}

    @syscall("ctx.save", cost="io")
    async def save(self, context: Context, name: Name, path: Path | None = None) -> dict[str, Any]:
        """Write a context to a file, whole or not at all.

        Args:
            path: where; a file of its name below the data folder when not given.
        """
        loaded = await self._services.contexts.load(name, context.principal)
        head = loaded.head
        codec = await self._services.residency.codec(check_model(self._services, head))
        cut = Passage(codec, loaded.conversation)
        saved = SavedContext(
            name=name,
            model=head.model,
            model_id=head.model_id,
            tokens=cut.tokens,
            entries=[*loaded.conversation.entries, *cut.entries],
        )
        target = self._path(context, path, name)
        size_bytes = await asyncio.to_thread(context_file.save, saved, target)
        return {"name": name, "path": str(target), "bytes": size_bytes}

    @syscall("ctx.open", cost="io")
    async def open(
        self,
        context: Context,
        path: Path,
        name: Annotated[str | None, Field(description="the one it had when not given")] = None,
        shared: bool = False,
    ) -> dict[str, Any]:
        """Make a context of a saved file; the model that it was made with must be stored.

        Args:
            path: a file that ctx.save has written, or the name of one below the data folder.
            shared: let others of the tenant read and fork it.
        """
        is_name = len(path.parts) == 1 and path.suffix != context_file.SUFFIX
        source = self._path(context, None if is_name else path, str(path))
        saved = await asyncio.to_thread(context_file.read, source)
        stored = find_model(self._services, name or saved.name, saved.model, saved.model_id)
        opened = await self._services.contexts.create(
            name or saved.name,
            context.principal,
            model=stored.name,
            model_id=stored.id,
            tokens=saved.tokens,
            entries=saved.entries,
            is_shared=shared,
        )
        return describe(opened)

    def _path(self, context: Context, path: Path | None, name: str) -> Path:
        """Where a context is saved; raises for a path that the caller may not name."""
        if path is None:
            folder = self._services.config.paths.data_dir / "contexts"
            tenant = _file_name(context.principal.tenant or "_")
            return folder / tenant / f"{_file_name(name)}{context_file.SUFFIX}"
        if not context.principal.may(FILES):
            raise NotPermitted(
                f"{context.principal.name} may not name files of the kernel's machine",
                hint=f"leave the path out; naming one needs the capability {FILES}",
            )
        if not path.is_absolute():
            raise InvalidArguments(
                f"the path {path} is not absolute", hint="the kernel has its own working folder"
            )
        return path


def describe(head: Head) -> dict[str, Any]:
    """The JSON-able form of a context, without what it holds."""
    return {
        "name": head.name,
        "tokens": head.length,
        "model": head.model,
        "owner": head.owner,
        "shared": head.is_shared,
        "forked_from": head.forked_from,
        "created_s": head.created_s,
        "updated_s": head.updated_s,
    }


async def _extended(
    codec: TextCodec,
    conversation: Conversation,
    name: str,
    messages: list[Message] | None,
    text: str | None,
) -> Draft:
    """What a context holds, with messages or a text behind it."""
    if messages and text:
        raise InvalidArguments("messages and text cannot be combined", hint="give one of them")

    def extend() -> Draft:
        if not messages:
            passage = Passage(codec, conversation)
            passage.say(text or "")
            return passage
        transcript = Transcript(codec, conversation, name=name)
        transcript.say([message.for_template() for message in messages])
        transcript.settle()
        return transcript

    return await asyncio.to_thread(extend)


def _file_name(text: str) -> str:
    """A text as the name of a file, without separators and dots."""
    return quote(text, safe="").replace(".", "%2E")
