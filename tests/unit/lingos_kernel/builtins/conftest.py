"""A kernel with a scripted engine, and a way to call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from lingos_kernel.kernel import Kernel
from lingos_kernel.testing import Script, ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_kernel

MakeKernel = Callable[..., AbstractAsyncContextManager[Kernel]]


@pytest.fixture
def make_kernel(tmp_path: Path) -> MakeKernel:
    """Makes a kernel whose model answers by a script; `step=True` holds it until told to go on."""

    @asynccontextmanager
    async def make(
        script: Script | None = None, *, plugins: str = "", step: bool = False
    ) -> AsyncIterator[Kernel]:
        engine = ScriptedEngine(script if script is not None else {}, is_automatic=not step)
        async with scripted_kernel(tmp_path, engine=engine, plugins=plugins) as kernel:
            yield kernel

    return make
