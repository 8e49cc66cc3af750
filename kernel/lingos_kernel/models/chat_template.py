"""Chat templates, rendered as transformers renders them.

A template is code from a model's folder, so it runs in an immutable sandbox and sees plain data
only. jinja2 is imported on the first rendering.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from lingos_kernel.errors import CorruptModel, InvalidArguments

if TYPE_CHECKING:
    from jinja2 import Environment, Template

Message = Mapping[str, Any]

FALLBACK = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models that came without a template: plain labels that a base model continues well."""

_REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """A model's chat templates; one with the name tool_use serves calls that bring tools."""

    def __init__(self, sources: Mapping[str, str], special_tokens: Mapping[str, str]) -> None:
        """`special_tokens` (bos_token, eos_token, ...) are variables of the template."""
        self._sources = sources
        self._special_tokens = special_tokens

    @property
    def is_fallback(self) -> bool:
        """Whether the model brought no template of its own."""
        return not self._sources

    @property
    def takes_tools(self) -> bool:
        """Whether the template shows tools to the model, or leaves that to the caller."""
        return "tool_use" in self._sources or "tools" in _variables(self.source(None))

    def source(self, tools: Sequence[Any] | None) -> str:
        """The template that serves a call; raises `CorruptModel` when none is the default."""
        if self.is_fallback:
            return FALLBACK
        if tools is not None and "tool_use" in self._sources:
            return self._sources["tool_use"]
        if "default" not in self._sources:
            names = ", ".join(sorted(self._sources))
            raise CorruptModel(
                f"the model has chat templates ({names}) but no default one",
                hint="add one named default to its tokenizer_config.json",
            )
        return self._sources["default"]

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        """The prompt for a conversation.

        Raises `InvalidArguments` when the template refuses the messages, `CorruptModel` when
        the template itself cannot be read.
        """
        if not messages:
            raise InvalidArguments("the conversation is empty", hint="give at least one message")
        template = _compile(self.source(tools))
        variables = {**self._special_tokens, **_plain(arguments)}
        try:
            return template.render(
                messages=[_message(message) for message in messages],
                tools=_plain(tools),
                documents=variables.pop("documents", None),
                add_generation_prompt=add_generation_prompt,
                **variables,
            )
        # A template is foreign code: whatever it raises, it refused these messages.
        except Exception as error:
            raise InvalidArguments(
                f"the model's chat template refused the messages: {error}",
                hint="check roles, their order, and that each message has text content",
            ) from error


def _message(message: Message) -> dict[str, Any]:
    """One message as templates expect it: no None values, reasoning under its standard name."""
    plain = {key: _plain(value) for key, value in message.items() if value is not None}
    reasoning = next((plain[name] for name in _REASONING if name in plain), None)
    if reasoning is None:
        return plain
    return {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """The value rebuilt from JSON types, so that a template meets no method of a rich object."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return f"<{type(value).__name__}>"


def _raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; jinja's own filter escapes HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@functools.cache
def _environment() -> Environment:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the model wrote; it changes nothing in the text."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a mutable instance variable

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


@functools.lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise CorruptModel(
            f"the model's chat template cannot be read: {error.message} in line {error.lineno}",
            hint="pull the model again, or mend its chat_template.jinja",
        ) from error


@functools.lru_cache(maxsize=32)
def _variables(source: str) -> frozenset[str]:
    from jinja2 import meta

    _compile(source)
    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


@functools.lru_cache(maxsize=32)
def literals(source: str) -> str:
    """All literal text of a template, in pieces separated by NUL."""
    from jinja2 import nodes

    _compile(source)
    tree = _environment().parse(source)
    pieces = [node.data for node in tree.find_all(nodes.TemplateData)]
    pieces += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    return "\0".join(pieces)
