"""Pins, times to live and reservations as system calls, and over a kernel's restart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import (
    InvalidArguments,
    ModelInUse,
    NotPermitted,
    OutOfMemory,
    UnknownModel,
    UnknownName,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.testing.scripted_core import PAGE_BYTES, PAGES, WEIGHT_BYTES
from lingos_kernel.testing.scripted_kernel import scripted_kernel

MODEL_BYTES = WEIGHT_BYTES + PAGES * PAGE_BYTES
MODEL, OTHER = "scripted", "scripted-embedder"
FOR_ONE = {"engine.memory_bytes": MODEL_BYTES, "engine.kv_bytes": PAGES * PAGE_BYTES}


async def call_as(
    kernel: Kernel,
    tenant: str,
    name: str,
    grants: tuple[str, ...] = ("model.*",),
    /,
    **arguments: Any,
) -> Any:
    """The result of a call by a member of a tenant."""
    capabilities = frozenset(grants)
    principal = Principal(tenant, tenant=tenant, capabilities=capabilities)
    return await kernel.submit(principal, name, arguments).result()


async def facts(kernel: Kernel, name: str = MODEL) -> Mapping[str, Any]:
    """What the list of models says of one."""
    models = await kernel.call("model.list")
    return next(model for model in models if model["name"] == name)


async def test_a_pinned_model_is_loaded_and_stays(tmp_path: Path) -> None:
    """Nobody unloads it, and who needs its room is told; unpinned, it is like any other."""
    settings = {"engine.memory_bytes": WEIGHT_BYTES // 2 + MODEL_BYTES}
    async with scripted_kernel(tmp_path, settings=settings) as kernel:
        assert await kernel.call("model.pin", name=MODEL) == {"pinned": MODEL}
        found = await facts(kernel)
        assert (found["loaded"], found["state"], found["pinned"]) == (True, "ready", True)
        with pytest.raises(ModelInUse, match=r"model\.unpin"):
            await kernel.call("model.unload", name=MODEL)
        unpinned = {"unpinned": MODEL, "was_pinned": True}
        assert await kernel.call("model.unpin", name=MODEL) == unpinned
        assert not (await kernel.call("model.unpin", name=MODEL))["was_pinned"]
        await kernel.call("model.unload", name=MODEL)
        with pytest.raises(UnknownModel):
            await kernel.call("model.pin", name="nobody")


async def test_pins_outlive_the_kernel_and_bring_their_model_back(tmp_path: Path) -> None:
    """So do times to live and reservations that are not over; loading is in the background."""
    async with scripted_kernel(tmp_path) as kernel:
        await kernel.call("model.pin", name=MODEL)
        await kernel.call("model.keep", name=OTHER, ttl=7.5)
        await call_as(kernel, "ann", "model.reserve", seconds=3_600.0, mebibytes=3)
        await call_as(kernel, "bob", "model.reserve", seconds=0.001, mebibytes=1)
    async with scripted_kernel(tmp_path) as kernel:
        while MODEL not in kernel.engine.models:
            await asyncio.sleep(0)
        assert (await facts(kernel))["pinned"]
        other = await facts(kernel, OTHER)
        assert (other["state"], other["ttl_s"], other["pinned"]) == ("stored", 7.5, False)
        (kept,) = await kernel.call("model.reservations")
        assert (kept["tenant"], kept["model"], kept["bytes"]) == ("ann", "", 3 * 2**20)
        assert 0 < kept["until"] - time.time() <= 3_600
        await kernel.call("model.unpin", name=MODEL)
        await kernel.call("model.keep", name=OTHER)
        await call_as(kernel, "ann", "model.release")
    assert json.loads(next(tmp_path.rglob("kept_models.json")).read_text()) == {
        "pinned": [],
        "ttl_s": {},
        "reservations": [],
    }


async def test_a_damaged_file_pins_nothing(tmp_path: Path, caplog: Any) -> None:
    """The kernel starts all the same, and says so in its log."""
    async with scripted_kernel(tmp_path) as kernel:
        await kernel.call("model.pin", name=MODEL)
    next(tmp_path.rglob("kept_models.json")).write_text("{")
    async with scripted_kernel(tmp_path) as kernel:
        assert not (await facts(kernel))["pinned"]
    assert "nothing is pinned" in caplog.text


async def test_a_pinned_model_that_was_removed_is_told_in_the_log(
    tmp_path: Path, caplog: Any
) -> None:
    """The others are brought back."""
    async with scripted_kernel(tmp_path) as kernel:
        await kernel.call("model.pin", name=MODEL)
        await kernel.call("model.pin", name=OTHER)
    path = next(tmp_path.rglob("kept_models.json"))
    path.write_text(path.read_text().replace(f'"{MODEL}"', '"gone"'))
    async with scripted_kernel(tmp_path) as kernel:
        while OTHER not in kernel.engine.models:
            await asyncio.sleep(0)
    assert "gone is to be kept in memory, but" in caplog.text


async def test_a_reserved_model_stays_for_its_time(tmp_path: Path) -> None:
    """Its own tenant may end that; another one needs a capability of its own."""
    async with scripted_kernel(tmp_path) as kernel:
        reserved = await call_as(kernel, "ann", "model.reserve", seconds=60.0, name=MODEL)
        assert (reserved["model"], reserved["bytes"]) == (MODEL, 0)
        assert (await facts(kernel))["reserved"] == "ann"
        with pytest.raises(ModelInUse, match="reserved"):
            await kernel.call("model.unload", name=MODEL)
        bob = {"name": MODEL, "tenant": "ann"}
        with pytest.raises(NotPermitted):
            await call_as(kernel, "bob", "model.release", ("model.release",), **bob)
        with pytest.raises(UnknownName):
            await call_as(kernel, "bob", "model.release", name=MODEL)
        released = await call_as(kernel, "bob", "model.release", ("model.release*",), **bob)
        assert released == {"released": MODEL, "tenant": "ann"}
        await kernel.call("model.unload", name=MODEL)


async def test_a_reservation_names_one_thing_and_must_be_possible(tmp_path: Path) -> None:
    """Either a model or memory, and no more of it than there is beside what is kept."""
    async with scripted_kernel(tmp_path, settings=FOR_ONE) as kernel:
        for wrong in ({}, {"name": MODEL, "mebibytes": 1}):
            with pytest.raises(InvalidArguments, match="either"):
                await kernel.call("model.reserve", seconds=1.0, **wrong)
        with pytest.raises(OutOfMemory, match=r"6\.0 MiB cannot be reserved: the budget M is 5\.0"):
            await kernel.call("model.reserve", seconds=1.0, mebibytes=6)
        await call_as(kernel, "ann", "model.reserve", seconds=60.0, mebibytes=3)
        with pytest.raises(OutOfMemory, match=r"3\.0 MiB are pinned or reserved"):
            await call_as(kernel, "bob", "model.reserve", seconds=60.0, mebibytes=3)


async def test_the_snapshot_shows_what_is_kept(tmp_path: Path) -> None:
    """State, pin, users, idle time and time to live of each model, and the budget."""
    settings = {**FOR_ONE, "models.idle_unload_s": 900.0}
    async with scripted_kernel(tmp_path, settings=settings) as kernel:
        await kernel.call("model.pin", name=MODEL)
        picture = await kernel.snapshot()
        rows = {row.name: row for row in picture.models}
        row = rows[MODEL]
        assert (row.state, row.pinned, row.users, row.ttl_s) == ("ready", True, 0, 900.0)
        assert row.idle_s > 0
        assert (rows[OTHER].state, rows[OTHER].idle_s) == ("stored", 0.0)
        assert picture.devices[0].budget_bytes == MODEL_BYTES


async def test_a_model_is_loaded_in_the_formats_asked_for(tmp_path: Path) -> None:
    """By the call, else by the settings; other ones while it is in memory are refused."""
    async with scripted_kernel(tmp_path, settings={"engine.kv_format": "int8"}) as kernel:
        loaded = await kernel.call("model.load", name=MODEL, weights="int4")
        assert (loaded["weight_format"], loaded["kv_format"]) == ("int4", "int8")
        assert (await kernel.call("model.load", name=MODEL))["weight_format"] == "int4"
        with pytest.raises(ModelInUse, match="other settings"):
            await kernel.call("model.load", name=MODEL, kv="native")
        with pytest.raises(InvalidArguments):
            await kernel.call("model.load", name=MODEL, weights="int2")
        await kernel.call("model.unload", name=MODEL)
        await kernel.call("model.load", name=MODEL, weights="native", kv="native")
        shown = await kernel.call("model.show", name=MODEL)
        assert (shown["weight_format"], shown["kv_format"]) == ("native", "native")
