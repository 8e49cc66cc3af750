"""Models made ready on first use: pulled once, loaded once, shared by all who wait."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.residency import Formats, Residency
from lingos_kernel.errors import Cancelled, InvalidArguments, ModelInUse, UnknownModel
from lingos_kernel.models.catalogue import CatalogueEntry
from lingos_kernel.models.progress import PullProgress
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.testing import ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_config, scripted_store


class SlowStore(ModelStore):
    """A real store whose catalogue pulls wait until the test lets them go."""

    def __init__(self, inner: ModelStore) -> None:
        super().__init__(inner.root, catalogue={"new": CatalogueEntry("new", "hf:nobody/nothing")})
        self.pulls = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.was_cancelled = threading.Event()

    def pull(
        self,
        source: str,
        *,
        alias: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> StoredModel:
        """Gives the scripted model under the new name, when allowed."""
        self.pulls += 1
        if progress:
            progress(PullProgress("new", "downloading", 1, 2))
        self.begun.set()
        while not self.go_on.wait(0.005):
            if cancelled and cancelled.is_set():
                self.was_cancelled.set()
                raise Cancelled("the pull was cancelled")
        return self.resolve("scripted")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[BudgetedEngine, SlowStore, Residency]:
    """An engine, a store whose pulls are slow, and the residency on them."""
    config = scripted_config(tmp_path)
    engine, store = BudgetedEngine(ScriptedEngine()), SlowStore(scripted_store(config.models.store))
    return engine, store, Residency(engine, store, config)


async def test_two_who_want_a_missing_model_share_one_pull(parts: Any) -> None:
    """One download, both told of its progress, both served."""
    engine, store, residency = parts
    await engine.start()
    heard: list[list[PullProgress]] = [[], []]
    wanting = [
        asyncio.create_task(residency.ensure("new", on_progress=heard[n].append)) for n in (0, 1)
    ]
    await asyncio.to_thread(store.begun.wait)
    while not all(heard):
        await asyncio.sleep(0)
    store.go_on.set()
    first, second = await asyncio.gather(*wanting)
    assert store.pulls == 1
    assert first.name == second.name == "scripted"
    assert first.codec is second.codec
    await engine.stop()


async def test_a_pull_goes_on_for_those_who_stay_and_stops_with_the_last(parts: Any) -> None:
    """The first to leave changes nothing; after the second nobody wants it any more."""
    _, store, residency = parts
    one, two = (asyncio.create_task(residency.pull("new")) for _ in range(2))
    await asyncio.to_thread(store.begun.wait)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert not store.was_cancelled.is_set()
    two.cancel()
    with pytest.raises(asyncio.CancelledError):
        await two
    assert await asyncio.to_thread(store.was_cancelled.wait, 10)


async def test_who_comes_after_the_last_has_left_begins_a_pull(parts: Any) -> None:
    """A pull that is being stopped serves nobody, and that it was stopped is no news to tell."""
    _, store, residency = parts
    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, news: untold.append(news))
    one = asyncio.create_task(residency.pull("new"))
    await asyncio.to_thread(store.begun.wait)
    one.cancel()
    await asyncio.wait([one])
    two = asyncio.create_task(residency.pull("new"))
    assert await asyncio.to_thread(store.was_cancelled.wait, 10)
    store.go_on.set()
    assert (await two).name == "scripted"
    assert store.pulls == 2
    gc.collect()
    assert untold == []


async def test_an_encoder_cannot_talk(parts: Any) -> None:
    """The error says what it is for."""
    engine, _, residency = parts
    await engine.start()
    with pytest.raises(InvalidArguments, match=r"llm\.embed"):
        await residency.ensure("scripted-embedder")
    assert (await residency.ensure(None, kind="encoder")).name == "scripted-embedder"
    with pytest.raises(UnknownModel):
        await residency.ensure("nobody")
    await engine.stop()


async def test_formats_are_kept_for_a_model_until_the_kernel_ends(parts: Any) -> None:
    """What a load asked for holds for the requests after it; another wish while loaded is told."""
    engine, store, residency = parts
    stored = store.resolve("scripted")
    await engine.start()
    assert residency.formats(stored) == Formats()
    await residency.load(stored, Formats("int8", "int8"))
    spec = residency.spec(stored)
    assert (spec.weight_format, spec.kv_format) == ("int8", "int8")
    await residency.ensure("scripted")
    with pytest.raises(ModelInUse, match="other settings"):
        await residency.load(stored, Formats("int4"))
    assert residency.formats(stored) == Formats("int8", "int8")
    await residency.unload("scripted")
    await residency.load(stored, Formats("int4"))
    assert residency.spec(stored).weight_format == "int4"
    await engine.stop()


async def test_an_encoder_takes_no_format(parts: Any) -> None:
    """Asking for one is an error; the configured one is for causal models."""
    _, store, residency = parts
    encoder = replace(store.resolve("scripted"), kind="encoder")
    with pytest.raises(InvalidArguments, match="native"):
        await residency.load(encoder, Formats("int8"))
    assert residency.spec(encoder).weight_format == "native"
