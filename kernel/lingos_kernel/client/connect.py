"""Reaching a kernel: attach to the running one, start it, or embed one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from lingos_kernel.client.http import HttpClient
from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import KernelUnavailable

if TYPE_CHECKING:
    from lingos_kernel.config import Config


async def connect(
    config: Config | None = None, *, start: bool = True, local: bool = False
) -> KernelClient:
    """A client of the running kernel, which is started if there is none.

    `config` defaults to the user's settings; `local` embeds a kernel in this process instead,
    which stops with the client. Raises `KernelUnavailable`.
    """
    config = config or _user_config()
    if local:
        return await _embed(config)
    client = HttpClient(config.kernel.socket)
    try:
        await client.ping()
    except KernelUnavailable as error:
        await client.close()
        if not start or error.details.get("reason") != "absent":
            raise
        from lingos_kernel.client.launch import launch

        await asyncio.to_thread(launch, config)
    return client


async def _embed(config: Config) -> KernelClient:
    from lingos_kernel.client.local import LocalClient
    from lingos_kernel.kernel import Kernel

    kernel = Kernel(config)
    await kernel.start()
    return LocalClient(kernel, owns_kernel=True)


def _user_config() -> Config:
    from lingos_kernel.config import load_config

    return load_config(project_dir=Path.cwd())
