"""The `lingos` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lingos_shell.invocation import Invocation
from lingos_shell.output import is_screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and never raises."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given and is_screen():
        return _show_interface(Invocation())
    from lingos_shell.command_line import execute

    return execute(given, Invocation())


def _show_interface(invocation: Invocation) -> int:
    """`lingos` alone on a terminal; loading click would delay its first frame by a tenth."""
    try:
        from lingos_shell.tui.start import start

        start(invocation)
    except BaseException as error:  # noqa: BLE001  # every ending becomes an exit code
        from lingos_shell.command_line import end

        return end(error, invocation)
    return 0
