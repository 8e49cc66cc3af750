"""What a consumer gets, and what a new engine is told."""

from __future__ import annotations

import pytest

from lingos_kernel.engine.inflight import Generation, Mailbox, merged
from lingos_kernel.engine.messages import (
    Generate,
    SamplingParams,
    SequenceOutput,
    TokenLogprob,
    Usage,
)
from lingos_kernel.errors import EngineError


def output(token: int, choice: int = 0, **more: object) -> SequenceOutput:
    """One token of a choice."""
    return SequenceOutput("r", choice, (token,), chr(token), **more)  # type: ignore[arg-type]


async def test_mailbox_merges_by_choice() -> None:
    """Waiting outputs come as one per choice, in the order in which the choices came."""
    mailbox = Mailbox()
    for token, choice in ((97, 0), (98, 1), (99, 0), (100, 1)):
        mailbox.put(output(token, choice))
    first, second = await mailbox.get(), await mailbox.get()
    assert (first.choice, first.text, first.token_ids) == (0, "ac", (97, 99))
    assert (second.choice, second.text, second.token_ids) == (1, "bd", (98, 100))


async def test_mailbox_fails_after_what_came_before() -> None:
    """An error comes after the outputs that were there before it, and again and again."""
    mailbox = Mailbox()
    mailbox.put(output(97))
    mailbox.fail(EngineError("broken"))
    assert (await mailbox.get()).text == "a"
    for _ in range(2):
        with pytest.raises(EngineError):
            await mailbox.get()


def test_merged_keeps_everything() -> None:
    """Log-probabilities are joined; the finish and the usage are the last one's."""
    score = TokenLogprob(1, -0.5)
    usage = Usage(1, 2)
    whole = merged(
        [
            output(97, logprobs=(score,), prompt_logprobs=(score, score)),
            output(98, logprobs=(score,), finish_reason="stop", usage=usage),
        ]
    )
    assert (len(whole.logprobs), len(whole.prompt_logprobs)) == (2, 2)
    assert (whole.finish_reason, whole.usage) == ("stop", usage)


def test_deadline_shrinks() -> None:
    """A request that is sent again has only the time that is left."""
    generation = Generation(Generate("r", "m", (1,), deadline_s=10.0), 100.0)
    generation.take(output(97), 101.0)
    assert generation.command(104.0).deadline_s == 6.0


def test_untouched_request_is_sent_as_it_is() -> None:
    """Without tokens there is nothing to resume."""
    request = Generate("r", "m", (1,), SamplingParams(n=3))
    assert Generation(request, 0.0).command(5.0) is request


def test_branch_of_a_branch() -> None:
    """A branch begins after all that its parent had, inherited tokens included."""
    parent = Generation(Generate("r", "m", (1,)), 0.0)
    parent.take(output(97), 0.0)
    child = parent.fork("b", SamplingParams(n=2), 0.0)
    child.take(output(98, 0), 0.0)
    child.take(output(99, 1), 0.0)
    grandchild = child.fork("c", None, 0.0)
    assert child.command(0.0).output_ids == ((97, 98), (97, 99))
    assert grandchild.command(0.0).output_ids == ((97, 98),)
