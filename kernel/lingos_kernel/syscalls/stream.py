"""Events of one call on their way to one reader, bounded: a slow reader slows the writer down."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from lingos_kernel.syscalls.events import AnyEvent, Failure, Item, Progress, Result

BOUND = 128
"""Events that wait for the reader; then writers wait."""


class EventStream:
    """A bounded buffer of events; belongs to the loop, except the tickets."""

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._events: deque[AnyEvent] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._tickets: threading.Semaphore | None = None
        self._closed = False
        self.keeps_pieces = True
        self.has_reader = False

    def put(self, event: AnyEvent) -> None:
        """Add an event, whatever the bound. Nothing follows an end; progress replaces progress."""
        if self._closed:
            return
        if isinstance(event, Result | Failure):
            self._close()
        elif not self.keeps_pieces and isinstance(event, Item | Progress):
            self._give_back(isinstance(event, Item))
            return
        if isinstance(event, Progress) and self._events and isinstance(self._events[-1], Progress):
            self._events[-1] = event
        else:
            self._events.append(event)
        _wake(self._arrived)

    async def get(self) -> AnyEvent:
        """The next event; waits for it. For one reader."""
        while not self._events:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        event = self._events.popleft()
        if isinstance(event, Item):
            self._give_back(1)
        if len(self._events) < self._bound:
            _wake(self._room)
        return event

    def attach(self) -> None:
        """A reader has come."""
        self.has_reader = True
        self.keeps_pieces = True

    def drain(self) -> None:
        """Nobody is going to read: throw pieces away from now on and let the writer go on."""
        self.keeps_pieces = False
        pieces = sum(isinstance(event, Item) for event in self._events)
        kept = [event for event in self._events if not isinstance(event, Item | Progress)]
        self._events = deque(kept)
        self._give_back(pieces)
        _wake(self._room)

    # Writers on the loop

    async def room(self) -> None:
        """Wait until the reader has caught up, or nothing more is wanted."""
        while self.keeps_pieces and not self._closed and len(self._events) >= self._bound:
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await self._room

    # Writers on a thread

    def open_tickets(self) -> threading.Semaphore:
        """Tickets for a writer on a thread: it takes one for each piece, the reader gives it back.

        The first call is made on the loop, before the writer starts. After an end there is a
        ticket, so that the writer comes to see that.
        """
        if self._tickets is None:
            self._tickets = threading.Semaphore(self._bound)
        return self._tickets

    def _give_back(self, tickets: int) -> None:
        if self._tickets is not None and tickets:
            self._tickets.release(tickets)

    def _close(self) -> None:
        self._closed = True
        self._give_back(self._bound)
        _wake(self._room)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
