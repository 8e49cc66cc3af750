"""`lingos doctor`: what is wrong with this machine, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.errors import ConfigError, LingOSError
from lingos_shell.common_options import common_options
from lingos_shell.doctor import kernel, machine, software
from lingos_shell.doctor.finding import Finding, fail, ok, warn
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line

if TYPE_CHECKING:
    from lingos_kernel.config import Config

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command("doctor")
@common_options
@click.pass_context
def command(context: click.Context, invocation: Invocation) -> None:
    """Find what is wrong with this machine and how to mend it.

    Needs no kernel and starts none. Exit code 1 when something fails.
    """
    findings: list[Finding] = []
    for finding in examine(invocation):
        findings.append(finding)
        if not invocation.as_json:
            write_line(finding_text(finding))
    if invocation.as_json:
        write_json({"ok": not has_failed(findings), "checks": findings})
    if has_failed(findings):
        context.exit(1)


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether anything keeps LingOS from working."""
    return any(finding.status == "fail" for finding in findings)


def finding_text(finding: Finding) -> str:
    """One line, and a second one that says how to mend it."""
    line = f"{MARKS[finding.status]}  {finding.name:<13} {finding.detail}"
    return f"{line}\n{'':<20}mend: {finding.mend}" if finding.mend else line


def examine(invocation: Invocation) -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    import os
    import sys
    import time

    yield machine.check_python(sys.version_info[:3])
    yield machine.check_clock(time.time())
    try:
        config = invocation.config()
    except ConfigError as error:
        yield fail("settings", error.message, error.hint)
        return  # nothing below is known without them
    yield _settings(config)
    yield from _resources(config)
    yield from software.software_findings(os.environ)
    yield kernel.check_model(_store(config), config.models.default)
    yield from _kernel_and_plugins(invocation)


def _settings(config: Config) -> Finding:
    if config.warnings:
        return warn("settings", "; ".join(config.warnings), "`lingos config show` lists them")
    sources = sorted({value.source for value in config.explain()} - {"default"})
    return ok("settings", ", ".join(sources) or "all at their defaults")


def _resources(config: Config) -> Iterator[Finding]:
    import os
    import shutil

    import psutil

    store = config.models.store
    yield machine.check_disk(store, shutil.disk_usage(machine.nearest_existing(store)).free)
    memory = psutil.virtual_memory()
    yield machine.check_memory(memory.available, memory.total)
    folders = (store, config.paths.state_dir, config.paths.cache_dir, config.paths.runtime_dir)
    yield machine.check_folders(config.kernel.socket.parent, folders, user=os.getuid())


def _store(config: Config) -> Any:
    from lingos_kernel.models.store import ModelStore

    return ModelStore(config.models.store)


def _kernel_and_plugins(invocation: Invocation) -> Iterator[Finding]:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_shell.commands.plugins import installed

    async def ask(client: KernelClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return await client.ping(), await client.call("sys.plugins")

    try:
        ping, records = invocation.run(ask, start=False)
    except LingOSError as error:
        yield kernel.check_kernel(error)
        yield kernel.check_plugins(installed(invocation.config()))
        return
    yield kernel.check_kernel(ping)
    yield kernel.check_plugins(records)
