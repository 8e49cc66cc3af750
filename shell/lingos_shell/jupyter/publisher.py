"""Sending outputs of a cell from its own thread."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lingos_kernel.telemetry.snapshot import Snapshot

if TYPE_CHECKING:
    from lingos_shell.jupyter.shell import LingOSShell


class CellPublisher:
    """Publishes what a run shows; a quiet one, whose value is assigned, prints alone."""

    def __init__(self, shell: LingOSShell, *, is_quiet: bool) -> None:
        self._shell = shell
        self._is_quiet = is_quiet

    def show(
        self,
        bundle: Mapping[str, Any],
        metadata: Mapping[str, Any],
        display_id: str,
        *,
        is_update: bool,
    ) -> None:
        """Show a MIME bundle, or exchange the one that was shown under the id."""
        if not self._is_quiet:
            self._shell.display_pub.publish(
                dict(bundle),
                dict(metadata),
                transient={"display_id": display_id},
                update=is_update,
            )

    def show_top(self, snapshot: Snapshot) -> None:
        """Show the live view of the scheduler, beginning with the snapshot.

        Where nothing streams, nobody looks: a still is all there is then.
        """
        from IPython.display import display

        from lingos_shell.jupyter.top_view import TopView, still_of

        if not self._shell.session.streams:
            still = {"text/html": still_of(snapshot), "text/plain": "the scheduler"}
            self.show(still, {}, uuid4().hex, is_update=False)
            return
        view = TopView(self._shell.bridge, snapshot)
        self._shell.kernel.views[view.comm.comm_id] = view
        display(view)  # type: ignore[no-untyped-call]

    def print(self, text: str) -> None:
        """Write to the cell's standard output."""
        sys.stdout.write(text)
        sys.stdout.flush()
