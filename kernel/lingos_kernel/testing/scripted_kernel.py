"""A whole kernel whose engine answers as told: for tests of plugins, clients and screens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lingos_kernel.config import Config, load_config
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.kernel import Kernel
from lingos_kernel.models.store import ModelStore
from lingos_kernel.testing.byte_codec import save_byte_codec
from lingos_kernel.testing.scripted_engine import ScriptedEngine

MODEL, EMBEDDER = "scripted", "scripted-embedder"


@asynccontextmanager
async def scripted_kernel(
    home: Path,
    *,
    engine: Engine | None = None,
    plugins: str = "",
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[Kernel]:
    """A started kernel below `home`, with a model and an embedder in a real store.

    `plugins` names the installed plugins to load, with commas; `settings` override the
    configuration (`{"threads.maximum": 4}`). The engine is a `ScriptedEngine` that echoes unless
    another is given.
    """
    config = scripted_config(home, plugins=plugins, settings=settings)
    store = await asyncio.to_thread(scripted_store, config.models.store)
    kernel = Kernel(config, engine=engine or ScriptedEngine(), store=store)
    await kernel.start()
    try:
        yield kernel
    finally:
        await kernel.stop()


def scripted_config(
    home: Path, *, plugins: str = "", settings: Mapping[str, Any] | None = None
) -> Config:
    """A configuration that keeps everything below `home` and names the scripted models."""
    environ = {"LINGOS_HOME": str(home), "LINGOS_LOAD_PLUGINS": plugins}
    names = {"models.default": MODEL, "models.embedder": EMBEDDER}
    return load_config(environ=environ, overrides={**names, **(settings or {})})


def scripted_store(root: Path) -> ModelStore:
    """A real store with two models that only a scripted engine can run."""
    store = ModelStore(root, catalogue={})
    for name, model_type in ((MODEL, "llama"), (EMBEDDER, "bert")):
        folder = root.parent / f"{name}-source"
        folder.mkdir(parents=True, exist_ok=True)
        _save_model(folder, model_type)
        store.pull(str(folder), alias=name)
    return store


def _save_model(folder: Path, model_type: str) -> None:
    """A tokenizer, a configuration and one small tensor: whole to a store, without a use."""
    import numpy as np
    from safetensors.numpy import save_file

    save_byte_codec(folder)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    architecture = {"llama": "LlamaForCausalLM", "bert": "BertModel"}[model_type]
    config |= {"architectures": [architecture], "model_type": model_type}
    config_file.write_text(json.dumps(config), encoding="utf-8")
    save_file({"weight": np.zeros((2, 2), dtype=np.float32)}, folder / "model.safetensors")
