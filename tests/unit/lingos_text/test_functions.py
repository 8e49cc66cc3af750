"""The functions of the text library over a scripted model: what they ask, what they give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import EmptyPrompt, InvalidArguments
from lingos_kernel.kernel import Kernel
from lingos_kernel.testing import Prompt, ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_kernel


class Model:
    """Answers each prompt with what the test says, and keeps the prompts."""

    def __init__(self) -> None:
        self.answer = "An answer."
        self.asked: list[str] = []

    def __call__(self, prompt: Prompt) -> str:
        """The answer."""
        self.asked.append(prompt.user)
        return self.answer


@pytest.fixture
def model() -> Model:
    """The scripted model."""
    return Model()


@pytest.fixture
async def kernel(tmp_path: Path, model: Model) -> AsyncIterator[Kernel]:
    """A kernel with the text library."""
    engine = ScriptedEngine(model)
    async with scripted_kernel(tmp_path, engine=engine, plugins="text") as made:
        yield made


async def test_a_short_text_is_summarized_at_once(kernel: Kernel, model: Model) -> None:
    """One prompt, holding the text."""
    result = await kernel.call("text.summarize", text="The cat sat.", sentences=1)
    assert (result["text"], result["parts"], result["rounds"]) == ("An answer.", 1, 0)
    assert len(model.asked) == 1
    assert "The cat sat." in model.asked[0]


async def test_a_long_text_is_summarized_by_parts(kernel: Kernel, model: Model) -> None:
    """Every part is read once, then the summaries of the parts."""
    sentences = [f"Fact number {n} is here. " for n in range(300)]
    result = await kernel.call("text.summarize", text="".join(sentences))
    assert result["parts"] > 1
    assert result["rounds"] >= 1
    parts = "".join(model.asked[: result["parts"]])
    assert all(sentence.strip() in parts for sentence in sentences)
    assert "An answer." in model.asked[-1]


async def test_a_file_is_read_where_a_text_could_be_given(
    kernel: Kernel, model: Model, tmp_path: Path
) -> None:
    """The file's text is in the prompt."""
    file = tmp_path / "note.txt"
    file.write_text("Grüße aus 東京.", encoding="utf-8")
    await kernel.call("text.rewrite", file=str(file), instruction="shorter")
    assert "Grüße aus 東京." in model.asked[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InvalidArguments, "either text or file"),
        ({"text": "a", "file": "/x"}, InvalidArguments, "either text or file"),
        ({"text": " \n"}, EmptyPrompt, "no text"),
        ({"file": "/no/such/file"}, InvalidArguments, "cannot read /no/such/file"),
    ],
)
async def test_what_cannot_be_read_is_told(
    kernel: Kernel, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Neither, both, nothing or a missing file: one clear error each."""
    with pytest.raises(error, match=message):
        await kernel.call("text.summarize", **arguments)


async def test_a_file_that_is_not_text_is_told(kernel: Kernel, tmp_path: Path) -> None:
    """The error names the byte that is wrong."""
    file = tmp_path / "binary"
    file.write_bytes(b"abc\xff")
    with pytest.raises(InvalidArguments, match="byte 3 is wrong"):
        await kernel.call("text.keywords", file=str(file))


async def test_translation_goes_part_by_part_in_order(kernel: Kernel, model: Model) -> None:
    """Each part's translation follows the one before."""
    model.answer = "Teil."
    text = "A sentence that is not very short. " * 60
    result = await kernel.call("text.translate", text=text, to="German")
    assert result["parts"] > 1
    assert result["text"] == "\n".join(["Teil."] * result["parts"])
    assert all("into German" in prompt for prompt in model.asked)


async def test_extracted_data_is_parsed(kernel: Kernel, model: Model) -> None:
    """The model's JSON comes back as data."""
    model.answer = '{"age": 34}'
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    assert await kernel.call("text.extract", text="She is 34.", schema=schema) == {"age": 34}


async def test_a_question_is_asked_about_the_nearest_passages(kernel: Kernel, model: Model) -> None:
    """Of a long text only so many passages are shown, in their order, and named in the result."""
    text = "".join(f"Paragraph {n} tells of item {n}. " for n in range(200))
    result = await kernel.call("text.ask", text=text, question="What of item 7?", passages=2)
    assert len(result["sources"]) == 2
    starts = [source["start"] for source in result["sources"]]
    assert starts == sorted(starts)
    shown = [text[source["start"] : source["end"]].strip() for source in result["sources"]]
    assert all(passage in model.asked[0] for passage in shown)


async def test_labels_and_likeness(kernel: Kernel) -> None:
    """Classification chooses one of the labels; a text is like itself."""
    result = await kernel.call("text.classify", text="abc", labels=["x", "y"])
    assert result["label"] in {"x", "y"}
    assert sum(result["scores"].values()) == pytest.approx(1.0)
    assert await kernel.call("text.similarity", a="one", b="one") == pytest.approx(1.0)
    sentiment = await kernel.call("text.sentiment", text="abc")
    assert sentiment["label"] in {"positive", "negative", "neutral"}
