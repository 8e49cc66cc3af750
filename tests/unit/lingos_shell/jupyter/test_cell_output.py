"""Tests of what a cell shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lingos_kernel.errors import UnknownName
from lingos_kernel.testing import FakeClock
from lingos_shell.jupyter.answers import Answers
from lingos_shell.jupyter.cell_output import CellOutput, bundle_of
from lingos_shell.language.sink import AnswerEnd, AnswerText, Narration, Progressed, Shown


class Page:
    """A notebook cell: what is shown under each id, and every message that made it so."""

    def __init__(self) -> None:
        self.outputs: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self.messages = 0
        self.printed = ""

    def show(
        self,
        bundle: Mapping[str, Any],
        metadata: Mapping[str, Any],
        display_id: str,
        *,
        is_update: bool,
    ) -> None:
        """Keep an output."""
        assert is_update == (display_id in self.outputs)
        self.outputs[display_id] = (bundle, metadata)
        self.messages += 1

    def print(self, text: str) -> None:
        """Keep a print."""
        self.printed += text


@pytest.fixture
def page() -> Page:
    """An empty cell."""
    return Page()


def test_a_stream_is_few_messages_and_the_whole_text(page: Page) -> None:
    """500 tokens in two seconds take about 24 messages; the last holds all and the details."""
    clock = FakeClock()
    output = CellOutput(page, clock)
    for _ in range(500):
        output.show(AnswerText("word "))
        clock.advance(2 / 500)
        output.refresh()
    output.show(AnswerEnd({"text": "x", "model": "m", "seed": 1}))
    output.close()
    ((bundle, metadata),) = page.outputs.values()
    assert bundle["text/markdown"] == "word " * 500
    assert metadata == {"lingos": {"model": "m", "seed": 1}}
    assert page.messages <= 27


def test_final_only_is_one_message(page: Page) -> None:
    """Without streaming a text is shown once, whole, and progress not at all."""
    output = CellOutput(page, FakeClock(), streams=False)
    output.show(Progressed(1, 2, "bytes", "pull"))
    output.show(AnswerText("a"))
    output.show(AnswerText("b"))
    assert page.messages == 0
    assert output.due_s is None
    output.show(AnswerEnd({"model": "m"}))
    assert page.messages == 1


def test_a_stopped_answer_stays_and_says_so(page: Page) -> None:
    """What was answered before an interrupt is kept, marked in text and metadata."""
    output = CellOutput(page, FakeClock())
    output.show(AnswerText("half an ans"))
    output.close(was_stopped=True)
    ((bundle, metadata),) = page.outputs.values()
    assert bundle["text/markdown"].startswith("half an ans")
    assert "stopped" in bundle["text/markdown"]
    assert metadata["lingos"]["interrupted"] is True


def test_an_answer_can_be_shown_again(page: Page) -> None:
    """An answer that goes on grows also where it was shown again: under the same id."""
    answers = Answers()
    clock = FakeClock()
    output = CellOutput(page, clock, answers=answers)
    output.show(AnswerText("half"))
    other = Page()
    CellOutput(other, clock).show(Shown(answers.last(), "last"))
    assert other.outputs == page.outputs
    output.show(AnswerText(" and half"))
    output.show(AnswerEnd({"text": "x", "model": "m"}))
    assert answers.last() == {"text": "half and half", "model": "m"}
    with pytest.raises(UnknownName):
        answers.last(2)


def test_details_are_kept_of_answers_that_do_not_stream(page: Page) -> None:
    """A result with a run's details has them in its metadata."""
    result = {"text": "a", "model": "m", "usage": {"output_tokens": 1}}
    CellOutput(page, FakeClock()).show(Shown(result, "text.rewrite"))
    ((_, metadata),) = page.outputs.values()
    assert metadata["lingos"]["usage"] == {"output_tokens": 1}
    assert metadata["lingos"]["source"] == "text.rewrite"


def test_progress_goes_away(page: Page) -> None:
    """Progress is one line that is empty once something else is shown."""
    output = CellOutput(page, FakeClock())
    output.show(Progressed(1, 2, "bytes", "pull"))
    output.show(Progressed(2, 2, "bytes", "pull"))
    output.show(Shown([{"name": "<b>"}], "model.list"))
    output.show(Narration("done"))
    output.close()
    progress, table = page.outputs.values()
    assert progress[0] == {"text/plain": ""}
    assert "&lt;b&gt;" in table[0]["text/html"]
    assert page.printed == "done\n"


def test_values_have_fitting_types() -> None:
    """Tables, text, JSON and plain values each get the types that show them best."""
    assert set(bundle_of([{"a": 1}])) == {"text/html", "text/plain"}
    assert set(bundle_of("# hi")) == {"text/markdown", "text/plain"}
    assert set(bundle_of({"a": 1})) == {"application/json", "text/plain"}
    assert set(bundle_of("  a    b", is_prose=False)) == {"text/plain"}
    assert bundle_of(3) == {"text/plain": "3"}
