"""The words of the shell that are no syscalls: what each takes and does.

Their names and summaries are in `lingos_shell.registry`. A front end adds its own to these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import InvalidArguments, UnknownModel, UnknownName
from lingos_kernel.names import did_you_mean
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import convert
from lingos_shell.inputs import read_text
from lingos_shell.language.conversation import KeptConversation, PassingConversation
from lingos_shell.language.parser import ASK, parse_script
from lingos_shell.language.session_words import export, session
from lingos_shell.language.sink import Narration, Sink
from lingos_shell.language.values import fit, json_type, text_of
from lingos_shell.registry import WORDS

if TYPE_CHECKING:
    from lingos_shell.language.interpreter import Interpreter
    from lingos_shell.language.jobs import Job

NOT_SET = frozenset({"messages", "model", "context"})
"""Arguments of `llm.chat` that are chosen otherwise than by `/set`."""
SHOWN_CHARACTERS = 60


class Leave(Exception):
    """Raised when the person wants to leave the front end; no error."""

    def __init__(self, exit_code: int = 0) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Request:
    """One use of a word."""

    shell: Interpreter
    arguments: dict[str, Any]
    sink: Sink

    async def tell(self, text: str) -> None:
        """Say something to the person."""
        await self.sink.show(Narration(text))


@dataclass(frozen=True, slots=True)
class Builtin:
    """A word: the JSON schema of each of its arguments, and what it does.

    `run` returns the value that is shown and piped on, or an awaitable of it; None shows nothing.
    """

    run: Callable[[Request], Any]
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    help: str = ""
    summary: str = ""
    """Where it differs from the registry's, and for a front end's own words."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments object."""
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
        }


def summary_of(name: str) -> str:
    """What a word of the registry is for, in the shell."""
    own = BUILT_IN[name].summary if name in BUILT_IN else ""
    return own or WORDS[name].summary


def described(name: str, word: Builtin) -> SyscallInfo:
    """A word as help, completion and binding see it: like a syscall."""
    entry = WORDS.get(name)
    return SyscallInfo(
        name=name,
        owner="shell",
        summary=word.summary or (entry.summary if entry else ""),
        help=word.help,
        capability="",
        cost="io",
        timeout_s=None,
        confirm=False,
        streams=False,
        arguments=word.schema,
        returns={},
    )


# Sessions


async def _model(request: Request) -> Any:
    shell, name = request.shell, request.arguments.get("name")
    if name is None:
        return (await shell.client.call("model.show", name=shell.settings.model))["name"]
    found = await shell.client.call("model.show", name=name)
    if found.get("kind") == "encoder":
        raise UnknownModel(
            f"{found['name']} makes vectors, it does not talk", hint="/models lists the others"
        )
    shell.settings.model = found["name"]
    await request.tell(f"model {found['name']}")
    return None


async def _set(request: Request) -> Any:
    settings, name = request.shell.settings, request.arguments.get("name")
    if name is None:
        chosen = {"model": settings.model, "system": settings.system, **settings.options}
        return [
            {"setting": key, "value": value} for key, value in chosen.items() if value is not None
        ]
    value = request.arguments.get("value")
    if value is None:
        raise InvalidArguments(f"{name} needs a value", hint=f"/set {name} VALUE")
    if name == "system":
        settings.system = text_of(value)
        return None
    schema = (await request.shell.names.find("llm.chat")).arguments
    properties = {k: v for k, v in schema["properties"].items() if k not in NOT_SET}
    key = name.replace("-", "_")
    if key not in properties:
        raise InvalidArguments(
            f"no setting is called {name}",
            hint=did_you_mean(key, properties, otherwise=", ".join(["system", *properties])),
        )
    settings.options[key] = (
        convert(key, value, properties[key], schema)
        if isinstance(value, str)
        else fit(key, value, properties[key], schema)
    )
    return None


def _unset(request: Request) -> None:
    settings, variables = request.shell.settings, request.shell.variables
    name = request.arguments["name"].removeprefix("$")
    key = name.replace("-", "_")
    if name in ("system", "model"):
        setattr(settings, name, None)
    elif key in settings.options:
        del settings.options[key]
    elif name in variables:
        del variables[name]
    else:
        known = ["system", "model", *settings.options, *variables]
        raise UnknownName(
            f"nothing is called {name}",
            hint=did_you_mean(name, known, otherwise="/set and /vars list what there is"),
        )


async def _clear(request: Request) -> None:
    shell = request.shell
    is_kept = isinstance(shell.conversation, KeptConversation)
    shell.conversation = KeptConversation() if is_kept else PassingConversation()
    await request.tell("a new conversation begins; /session lists the others")


# Jobs


def _jobs(request: Request) -> Any:
    return [job.row() for job in request.shell.jobs.all()]


def _job(request: Request) -> Job:
    return request.shell.jobs.find(request.arguments.get("job"))


async def _go_on(request: Request, job: Job) -> None:
    if job.is_stopped and not job.task.done():
        await request.shell.client.call("proc.kill", pid=job.pid, signal="CONT")
        job.is_stopped = False


async def _fg(request: Request) -> None:
    job = _job(request)
    await _go_on(request, job)
    await job.output.follow(request.sink)
    try:
        request.shell.variables["_"] = await job.task
    finally:
        job.output.leave()
        request.shell.jobs.forget(job)


async def _bg(request: Request) -> None:
    job = _job(request)
    await _go_on(request, job)
    await request.tell(f"[{job.number}] {job.state}  {job.source}")


async def _stop(request: Request) -> None:
    job = _job(request)
    if not job.task.done():
        await request.shell.client.call("proc.kill", pid=job.pid, signal="STOP")
        job.is_stopped = True
    await request.tell(f"[{job.number}] {job.state}  {job.source}")


async def _wait(request: Request) -> Any:
    if "job" in request.arguments:
        return await _waited(_job(request))
    for job in request.shell.jobs.all():
        if not job.is_stopped:
            await _waited(job)
    return None


async def _waited(job: Job) -> Any:
    import asyncio

    await asyncio.wait([job.task])  # cancelling the wait leaves the job alone
    return None if job.task.cancelled() else job.task.result()


# Values


def _vars(request: Request) -> Any:
    return [
        {"name": f"${name}", "type": json_type(value), "value": _short(text_of(value))}
        for name, value in request.shell.variables.items()
    ]


def _short(text: str) -> str:
    words = " ".join(text[: 4 * SHOWN_CHARACTERS].split())
    return words if len(words) <= SHOWN_CHARACTERS else words[: SHOWN_CHARACTERS - 1] + "…"


def _print(request: Request) -> str:
    return " ".join(text_of(value) for value in request.arguments.get("text", ()))


# The rest


async def _source(request: Request) -> Any:
    shell = request.shell
    text = read_text(request.arguments["file"])
    if "args" in request.arguments:
        shell.variables["args"] = request.arguments["args"]
    await shell.run_tree(parse_script(text), request.sink)


async def _cd(request: Request) -> None:
    await request.tell(_go_to(request.arguments.get("folder", "~")))


def _go_to(name: str) -> str:
    folder = Path(name).expanduser()
    try:
        os.chdir(folder)
    except OSError as error:
        raise InvalidArguments(
            f"cannot go to {folder}: {(error.strerror or str(error)).lower()}",
            hint="Tab completes names of folders",
        ) from None
    return str(Path.cwd())


async def _help(request: Request) -> str:
    return await request.shell.help(request.arguments.get("name", ""))


def _exit(request: Request) -> None:
    raise Leave(request.arguments.get("code", 0))


def _asked_by_grammar(_request: Request) -> None:
    raise AssertionError(f"the parser makes a message of /{ASK}")


JOB = {"job": {"type": "integer", "description": "its number; the latest when not given"}}
ANY_TEXT = {"type": "array", "items": {"type": "string"}}

BUILT_IN: Mapping[str, Builtin] = {
    ASK: Builtin(
        _asked_by_grammar,
        {"text": {"type": "string", "description": "the message"}},
        help="The rest of the line is the message. What comes through a pipe stands before it.",
    ),
    "session": Builtin(
        session,
        {
            "name": {"type": "string", "description": "one to open or begin"},
            "session": {"type": "string", "description": "the name, behind the word attach"},
        },
        help="A session is a context of the kernel (ctx.*): it is there after a restart. "
        "/session attach NAME is the same as /session NAME.",
    ),
    "export": Builtin(
        export,
        {
            "file": {
                "type": "string",
                "format": "path",
                "description": "its suffix says the form: .md, .json, .ipynb",
            },
            "session": {"type": "string", "description": "another one than that which is open"},
        },
        ("file",),
        help="A notebook of it runs in Jupyter: a cell per message, its answer below.",
    ),
    "model": Builtin(_model, {"name": {"type": "string", "description": "a stored model"}}),
    "set": Builtin(
        _set,
        {
            "name": {"type": "string", "description": "system, or an argument of llm.chat"},
            "value": {"description": "of the argument's type"},
        },
        help="Without a name, shows what is set. /set tools text.* lets the model call syscalls.",
    ),
    "unset": Builtin(_unset, {"name": {"type": "string"}}, ("name",)),
    "clear": Builtin(_clear),
    "jobs": Builtin(_jobs),
    "fg": Builtin(_fg, JOB),
    "bg": Builtin(_bg, JOB),
    "stop": Builtin(_stop, JOB),
    "wait": Builtin(
        _wait,
        JOB,
        help="Without a number, waits for all that are not stopped.",
        summary="Wait until background jobs have ended.",
    ),
    "vars": Builtin(_vars),
    "print": Builtin(_print, {"text": ANY_TEXT}),
    "source": Builtin(
        _source,
        {
            "file": {"type": "string", "format": "path", "description": "a script (.los)"},
            "args": {**ANY_TEXT, "description": "the script's $args"},
        },
        ("file",),
    ),
    "cd": Builtin(_cd, {"folder": {"type": "string", "format": "path"}}),
    "help": Builtin(_help, {"name": {"type": "string", "description": "a word or syscall"}}),
    "exit": Builtin(_exit, {"code": {"type": "integer", "description": "the exit code"}}),
    "quit": Builtin(_exit, {"code": {"type": "integer", "description": "the exit code"}}),
}
