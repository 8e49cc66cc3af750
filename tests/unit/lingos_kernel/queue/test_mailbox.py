"""Mailboxes: letters, replies, requests with a time limit, and processes that end."""

from __future__ import annotations

import asyncio

import pytest

from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    InvalidArguments,
    NotPermitted,
    QueueFull,
    UnknownName,
    UnknownProcess,
)
from lingos_kernel.queue.mailbox import Letter, Mailboxes


@pytest.fixture
def boxes() -> Mailboxes:
    """Mailboxes of the processes 1, 2 and 3, with room for two letters each."""
    boxes = Mailboxes(bound=2)
    for pid in (1, 2, 3):
        boxes.open(pid)
    return boxes


async def turns() -> None:
    """Let other tasks run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_letter_arrives(boxes: Mailboxes) -> None:
    """With its sender, and the urgent ones first."""
    assert await boxes.send(2, "later", sender=1, priority=1) == ""
    assert await boxes.send(2, {"now": True}, sender=3) == ""
    letters = [await boxes.recv(2) for _ in range(2)]
    assert [(letter.sender, letter.body) for letter in letters] == [
        (3, {"now": True}),
        (1, "later"),
    ]


async def test_a_full_mailbox_makes_the_sender_wait(boxes: Mailboxes) -> None:
    """For at most its time limit."""
    await boxes.send(2, 1, sender=1)
    await boxes.send(2, 2, sender=1)
    with pytest.raises(QueueFull, match="mailbox:2"):
        await boxes.send(2, 3, sender=1, timeout_s=0)
    waiting = asyncio.create_task(boxes.send(2, 3, sender=1))
    await turns()
    assert [(await boxes.recv(2)).body for _ in range(3)] == [1, 2, 3]
    await waiting


async def test_one_sender_cannot_keep_the_others_out() -> None:
    """A quarter of a mailbox is left to others, whoever floods it."""
    boxes = Mailboxes(bound=8)
    boxes.open(1)
    for number in range(6):
        await boxes.send(1, number, sender=2)
    with pytest.raises(QueueFull):
        await boxes.send(1, "too many", sender=2, timeout_s=0)
    await boxes.send(1, "from another", sender=3, timeout_s=0)


async def test_a_request_gets_its_reply(boxes: Mailboxes) -> None:
    """Requests are told apart by their correlation ids, whatever the order of replies."""
    first = asyncio.create_task(boxes.request(2, "one", sender=1))
    await turns()
    second = asyncio.create_task(boxes.request(2, "two", sender=1))
    letters = [await boxes.recv(2) for _ in range(2)]
    for letter in reversed(letters):
        await boxes.reply(letter.correlation_id, letter.body.upper(), sender=2)
    replies = [await first, await second]
    assert [reply.body for reply in replies] == ["ONE", "TWO"]
    assert all(reply.is_reply and reply.sender == 2 for reply in replies)
    assert boxes.owed == 0


async def test_a_reply_may_go_into_the_mailbox(boxes: Mailboxes) -> None:
    """send with wants_reply: the asker reads the reply as a letter with the same id."""
    correlation_id = await boxes.send(2, "question", sender=1, wants_reply=True)
    await boxes.reply((await boxes.recv(2)).correlation_id, "answer", sender=2)
    reply = await boxes.recv(1)
    assert (reply.correlation_id, reply.is_reply, reply.body) == (correlation_id, True, "answer")


async def test_a_reply_that_finds_no_room_is_still_owed(boxes: Mailboxes) -> None:
    """The replier is told, and may try again."""
    correlation_id = await boxes.send(2, "question", sender=1, wants_reply=True)
    await boxes.send(1, "noise", sender=3)
    await boxes.send(1, "noise", sender=3)
    with pytest.raises(QueueFull):
        await boxes.reply(correlation_id, "answer", sender=2, timeout_s=0)
    await boxes.recv(1)
    await boxes.reply(correlation_id, "answer", sender=2)
    assert boxes.owed == 0


async def test_a_request_ends_with_its_time_limit(boxes: Mailboxes) -> None:
    """Whether it waits for room or for the reply; a late reply is told that nobody waits."""
    with pytest.raises(CallTimeout, match=r"pid 2 did not reply to pid 1 within 0\.01 s"):
        await boxes.request(2, "hello", sender=1, timeout_s=0.01)
    assert boxes.owed == 0
    assert boxes.rows()[1].depth == 0, "the letter expired with the request"
    asking = asyncio.create_task(boxes.request(2, "again", sender=1))
    letter = await boxes.recv(2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(UnknownName, match="nobody waits"):
        await boxes.reply(letter.correlation_id, "late", sender=2)


async def test_a_reply_is_taken_once_and_from_the_one_asked(boxes: Mailboxes) -> None:
    """Others may not answer, and nobody twice."""
    asking = asyncio.create_task(boxes.request(2, "hello", sender=1))
    letter = await boxes.recv(2)
    with pytest.raises(NotPermitted, match="pid 2 was asked, not pid 3"):
        await boxes.reply(letter.correlation_id, "me!", sender=3)
    await boxes.reply(letter.correlation_id, "yes", sender=2)
    with pytest.raises(UnknownName):
        await boxes.reply(letter.correlation_id, "yes!", sender=2)
    assert (await asking).body == "yes"


async def test_the_end_of_a_process(boxes: Mailboxes) -> None:
    """Requests to it fail, its waits are cancelled, its unread letters come back."""
    to_it = asyncio.create_task(boxes.request(2, "hello", sender=1))
    by_it = asyncio.create_task(boxes.request(3, "hello", sender=2))
    await turns()
    assert [letter.body for letter in boxes.close(2)] == ["hello"]
    with pytest.raises(UnknownProcess, match="pid 2 ended without a reply to pid 1"):
        await to_it
    with pytest.raises(Cancelled, match="pid 2 ended"):
        await by_it
    receiving = asyncio.create_task(boxes.recv(3))
    letter = await receiving
    with pytest.raises(UnknownName):
        await boxes.reply(letter.correlation_id, "", sender=3)
    receiving = asyncio.create_task(boxes.recv(3))
    await turns()
    assert boxes.close(3) == []
    with pytest.raises(Cancelled):
        await receiving
    with pytest.raises(UnknownProcess, match="no process 3"):
        await boxes.send(3, "hello", sender=1)
    assert boxes.close(3) == []
    assert boxes.owed == 0


async def test_a_sender_that_waits_for_a_process_that_ends(boxes: Mailboxes) -> None:
    """It is told that the process is gone."""
    for _ in range(2):
        await boxes.send(2, "", sender=3)
    sending = asyncio.create_task(boxes.send(2, "", sender=1, wants_reply=True))
    asking = asyncio.create_task(boxes.request(2, "", sender=1))
    await turns()
    boxes.close(2)
    for task in (sending, asking):
        with pytest.raises(UnknownProcess, match="pid 2 ended"):
            await task
    assert boxes.owed == 0


async def test_replies_owed_are_bounded(boxes: Mailboxes) -> None:
    """A process cannot ask without end and never listen."""
    for pid in (2, 3):
        await boxes.send(pid, "", sender=1, wants_reply=True)
    with pytest.raises(QueueFull, match="already waits for 2 replies"):
        await boxes.send(2, "", sender=1, wants_reply=True)
    with pytest.raises(InvalidArguments, match="own reply"):
        await boxes.request(1, "", sender=1)


async def test_expired_letters_are_told() -> None:
    """Nobody read it in time: on_expired gets the letter."""
    now_s = 0.0
    expired: list[Letter] = []
    boxes = Mailboxes(clock=lambda: now_s, on_expired=expired.append)
    boxes.open(1)
    await boxes.send(1, "old", sender=2, ttl_s=1)
    now_s = 2.0
    await boxes.send(1, "new", sender=2)
    assert (await boxes.recv(1)).body == "new"
    assert [letter.body for letter in expired] == ["old"]
