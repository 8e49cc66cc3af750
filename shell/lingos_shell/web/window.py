"""One browser window: `python -m lingos_shell.web.window`, started by the server."""

from __future__ import annotations

import click

from lingos_shell.common_options import settings_option
from lingos_shell.invocation import Invocation


@click.command()
@settings_option
@click.option("--readonly", is_flag=True, help="Look, change nothing.")
@click.pass_context
def main(context: click.Context, *, readonly: bool) -> None:
    """Run the interface; its driver talks to the server, not to a terminal."""
    from lingos_shell.tui.start import start

    start(context.ensure_object(Invocation), is_readonly=readonly)


if __name__ == "__main__":
    main()
