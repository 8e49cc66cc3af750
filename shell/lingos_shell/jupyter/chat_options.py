"""The settings in the first line of a `%%chat` cell."""

from __future__ import annotations

import shlex

from lingos_kernel.errors import InvalidArguments


def parse_chat_options(line: str) -> list[tuple[str, str]]:
    """Names and values of `--name value`, `--name=value`, `name=value` and `name value`.

    Raises `InvalidArguments`.
    """
    try:
        words = iter(shlex.split(line))
    except ValueError as error:
        raise InvalidArguments(f"%%chat {line}: {error}", hint="close the quotes") from None
    options = []
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        given = value if equals else next(words, None)
        if given is None:
            raise InvalidArguments(f"%%chat: {name} needs a value", hint=f"%%chat --{name} VALUE")
        options.append((name, given))
    return options
