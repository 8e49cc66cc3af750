"""Who is to stay in memory: pins, times to live and reservations, kept over a kernel's restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from lingos_kernel.engine.weights_keeper import WeightsKeeper
from lingos_kernel.errors import LingOSError, OutOfMemory, UnknownName
from lingos_kernel.memory.sizes import mib
from lingos_kernel.memory.weights import Reservation
from lingos_kernel.models.layout import replace_file

log = logging.getLogger("lingos.engine")


class SavedReservation(msgspec.Struct, frozen=True):
    """A reservation on disk."""

    tenant: str
    model: str
    bytes: int
    until: float
    """Unix time."""


class Wishes(msgspec.Struct, frozen=True):
    """What the file holds."""

    pinned: tuple[str, ...] = ()
    ttl_s: dict[str, float] = {}
    reservations: tuple[SavedReservation, ...] = ()


class Keeping:
    """Changes what a keeper's weights are to keep, and writes it down.

    A kernel that does not `restore` keeps its wishes to itself: another one has the file.
    """

    def __init__(self, path: Path, keeper: WeightsKeeper, *, wall: Callable[[], float]) -> None:
        """`wall` gives Unix time that does not jump."""
        self._path = path
        self._keeper = keeper
        self._weights = keeper.weights
        self._offset_s = wall() - keeper.clock()
        self._writing: asyncio.Lock | None = None

    async def restore(self) -> tuple[str, ...]:
        """Take over what was written down; the models that are to be brought back into memory."""
        self._writing = asyncio.Lock()
        wishes = await asyncio.to_thread(self._read)
        self._weights.pinned |= set(wishes.pinned)
        self._weights.ttl_s |= wishes.ttl_s
        now_s = self._keeper.clock()
        for saved in wishes.reservations:
            until_s = saved.until - self._offset_s
            if until_s > now_s:
                reservation = Reservation(saved.tenant, until_s, saved.model, saved.bytes)
                self._weights.reserve(reservation)
        reserved = {r.model for r in self._weights.reservations if r.model}
        return tuple(sorted(self._weights.pinned | reserved))

    async def pin(self, model: str) -> None:
        """Never unload a model by itself."""
        self._weights.pinned.add(model)
        await self._changed()

    async def unpin(self, model: str) -> bool:
        """Let a model go when it is idle and in the way; whether it was pinned."""
        was_pinned = model in self._weights.pinned
        self._weights.pinned.discard(model)
        await self._changed()
        return was_pinned

    async def set_ttl(self, model: str, ttl_s: float | None) -> None:
        """Unload a model after being idle for so long; 0: never, None: as the settings say."""
        if ttl_s is None:
            self._weights.ttl_s.pop(model, None)
        else:
            self._weights.ttl_s[model] = ttl_s
        await self._changed()

    async def reserve(
        self, tenant: str, seconds: float, *, model: str = "", size: int = 0
    ) -> float:
        """Keep a model, or `size` bytes, for a tenant; gives the end in Unix time.

        Raises `OutOfMemory` with the sums when the budget has less than all reserve together.
        """
        now_s = self._keeper.clock()
        if size:
            self._check(tenant, size, now_s)
        until_s = now_s + seconds
        self._weights.reserve(Reservation(tenant, until_s, model, size))
        await self._changed()
        return until_s + self._offset_s

    async def release(self, tenant: str, model: str = "") -> None:
        """End a tenant's reservation; raises `UnknownName` when there is none."""
        if not self._weights.release(tenant, model):
            what = f"the model {model}" if model else "memory"
            raise UnknownName(f"{tenant or 'nobody'} has not reserved {what}")
        await self._changed()

    def reservations(self) -> list[SavedReservation]:
        """Those in force."""
        now_s = self._keeper.clock()
        return [
            SavedReservation(r.tenant, r.model, r.bytes, r.until_s + self._offset_s)
            for r in self._weights.reservations
            if r.until_s > now_s
        ]

    def _check(self, tenant: str, size: int, now_s: float) -> None:
        budget = self._weights.budget_bytes
        others = [r for r in self._weights.reservations if r.until_s > now_s and r.tenant != tenant]
        pinned = [
            resident.bytes
            for resident in self._weights.residents.values()
            if self._weights.is_kept(resident.name, now_s) and resident.tenant != tenant
        ]
        taken = sum(r.bytes for r in others) + sum(pinned)
        if budget and size + taken > budget:
            raise OutOfMemory(
                f"{mib(size)} cannot be reserved: the budget M is {mib(budget)},"
                f" of which {mib(taken)} are pinned or reserved",
                hint="reserve less, or raise engine.memory_bytes",
            )

    async def _changed(self) -> None:
        self._keeper.pump()
        if self._writing is None:
            return
        async with self._writing:
            wishes = Wishes(
                pinned=tuple(sorted(self._weights.pinned)),
                ttl_s=dict(self._weights.ttl_s),
                reservations=tuple(self.reservations()),
            )
            await asyncio.to_thread(self._write, msgspec.json.encode(wishes))

    def _read(self) -> Wishes:
        with contextlib.suppress(FileNotFoundError):
            try:
                return msgspec.json.decode(self._path.read_bytes(), type=Wishes)
            except msgspec.MsgspecError as error:  # models are loaded when they are asked for
                log.error("%s cannot be read, nothing is pinned: %s", self._path, error)
        return Wishes()

    def _write(self, data: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, data)
        except OSError as error:
            raise LingOSError(
                f"{self._path} cannot be written: {error.strerror}",
                hint="it holds until the kernel stops; check the folder and its free space",
            ) from error
