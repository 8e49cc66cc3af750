"""Starting the terminal interface from a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lingos_kernel.errors import ConfigError
from lingos_kernel.names import did_you_mean
from lingos_shell.invocation import Invocation
from lingos_shell.tui import alt_keys, collector

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_shell.tui.app import LingOSApp
    from lingos_shell.tui.plugin_panes import PaneFactory


FRAMES_PER_S = "240"
"""At most; at Textual's 60 a key that comes just after a frame waits for the second next one."""


def prepare() -> None:
    """What has to be settled before Textual is imported."""
    os.environ.setdefault("TEXTUAL_FPS", FRAMES_PER_S)
    collector.hold()


def start(invocation: Invocation, *, is_readonly: bool = False) -> None:
    """Run the whole interface until the person leaves; a kernel is started if none runs."""
    prepare()
    from lingos_shell.tui.app import LingOSApp

    _run(LingOSApp, invocation, is_readonly=is_readonly, may_start=True, period_s=None)


def start_top(
    invocation: Invocation, *, is_readonly: bool = False, period_s: float | None = None
) -> None:
    """Run `lingos top`; it waits for a kernel and starts none."""
    prepare()
    from lingos_shell.tui.app import TopApp

    _run(TopApp, invocation, is_readonly=is_readonly, may_start=False, period_s=period_s)


def _run(
    kind: type[LingOSApp],
    invocation: Invocation,
    *,
    is_readonly: bool,
    may_start: bool,
    period_s: float | None,
) -> None:
    """Raises `ConfigError` for a theme that there is not, or what ended the program."""
    from textual.theme import BUILTIN_THEMES

    from lingos_shell.tui.link import PERIOD_S
    from lingos_shell.tui.themes import THEMES

    config = invocation.config()
    shell = config.shell
    themes = {*BUILTIN_THEMES, *(theme.name for theme in THEMES)}
    if shell.theme not in themes:
        raise ConfigError(
            f"shell.theme = {shell.theme!r}: there is no such theme",
            hint=did_you_mean(shell.theme, themes, otherwise=", ".join(sorted(themes))),
        )

    async def connect(may_start: bool) -> KernelClient:
        return await invocation.client(start=may_start)

    def load_panes() -> Mapping[str, PaneFactory]:
        from lingos_shell.tui.plugin_panes import load_plugin_panes

        return load_plugin_panes(config)

    app = kind(
        connect,
        is_readonly=is_readonly,
        may_start=may_start,
        theme=shell.theme,
        keys=shell.keys,
        period_s=period_s or PERIOD_S,
        load_panes=load_panes,
        state_dir=config.paths.state_dir,
        on_first_frame=collector.resume,
    )
    alt_keys.teach()
    app.run()
    if app.return_code:
        sys.exit(app.return_code)
