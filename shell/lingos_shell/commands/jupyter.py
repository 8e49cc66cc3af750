"""`lingos jupyter`: the notebook kernel."""

from __future__ import annotations

from importlib.util import find_spec

import click

from lingos_kernel.errors import ConfigError, InvalidArguments
from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line


@click.group("jupyter")
def command() -> None:
    """Use LingOS in Jupyter notebooks.

    Their cells mix Python with the shell's language.
    """


@command.command("install")
@click.option("--user", is_flag=True, help="For you alone, not for this Python's environment.")
@click.option("--prefix", metavar="FOLDER", help="Below this folder.")
@common_options
def install_command(invocation: Invocation, *, user: bool, prefix: str | None) -> None:
    """Make the kernel known to Jupyter, for this Python's environment."""
    import sys

    if user and prefix:
        raise InvalidArguments("--user and --prefix are two places", hint="give one of them")
    _require_ipykernel()
    from lingos_shell.jupyter.spec import install

    try:
        place = install(user=user, prefix=None if user else prefix or sys.prefix)
    except OSError as error:
        raise ConfigError(
            f"the kernel's entry cannot be written: {error}", hint="use --user, or --prefix FOLDER"
        ) from None
    if invocation.as_json:
        write_json({"path": str(place)})
    else:
        write_line(f"Jupyter knows the kernel as lingos ({place})")


@command.command("uninstall")
@common_options
def uninstall_command(invocation: Invocation) -> None:
    """Make Jupyter forget the kernel."""
    _require_ipykernel()
    from lingos_shell.jupyter.spec import remove

    try:
        places = [str(place) for place in remove()]
    except OSError as error:
        raise ConfigError(
            f"the kernel's entry cannot be removed: {error}",
            hint="remove it as the user who installed it",
        ) from None
    if invocation.as_json:
        write_json({"removed": places})
    else:
        lines = [f"removed {place}" for place in places] or ["Jupyter did not know it"]
        write_line("\n".join(lines))


def _require_ipykernel() -> None:
    if find_spec("ipykernel") is None:
        raise ConfigError(
            "ipykernel is not installed", hint="run `pip install 'lingos[jupyter]'` first"
        )
