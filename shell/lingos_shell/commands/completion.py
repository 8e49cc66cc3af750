"""`lingos completion`: the script that teaches a shell to complete."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lingos_shell.output import write

VARIABLE = "_LINGOS_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, *, shell: str) -> None:
    """Print a shell's completion script.

    \b
    lingos completion bash >> ~/.bashrc
    lingos completion zsh >> ~/.zshrc
    lingos completion fish > ~/.config/fish/completions/lingos.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    root = context.find_root()
    completion = completion_class(root.command, {}, "lingos", VARIABLE)
    # Not `source()`: that one runs bash to learn its version.
    write(completion.source_template % completion.source_vars())
