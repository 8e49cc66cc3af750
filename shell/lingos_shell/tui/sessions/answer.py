"""An answer: Markdown that streams in, reasoning folded away, what it took below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.widgets import Static

from lingos_shell.tui.keyboard import Breathe, at_once
from lingos_shell.tui.sessions.clipping import clean_lines, clip
from lingos_shell.tui.sessions.entries import Entry
from lingos_shell.tui.sessions.reasoning import split_reasoning
from lingos_shell.tui.units import rate, seconds

if TYPE_CHECKING:
    from textual.widgets import Collapsible

    from lingos_shell.tui.markdown import MarkdownLines

MAX_MARKDOWN = 20_000
"""Characters that are drawn as Markdown; of what follows only the end is seen, as text."""
TAIL = 8
"""Lines of that end."""


class Answer(Entry):
    """Text is taken at any rate by `push`, and drawn by `flush` at the rate of the screen."""

    DEFAULT_CSS = """
    Answer { margin: 1 0 0 0; }
    Answer Collapsible {
        background: transparent; border: none; padding: 0; margin: 0 0 1 0;
        color: $foreground 60%;
    }
    Answer CollapsibleTitle { padding: 0; }
    Answer Contents { padding: 0 2; }
    Answer MarkdownLines { margin: 0 0 1 0; }
    Answer #tail, Answer #footer, Answer #progress { color: $foreground 55%; }
    Answer #footer { margin: 0; }
    """

    def __init__(self, text: str = "", *, reasoning: str = "") -> None:
        super().__init__()
        self._text = text
        self._given_reasoning = reasoning
        self._drawn = ("", "")
        self._is_stale = bool(text or reasoning)
        self._markdown: MarkdownLines | None = None
        self._fold: Collapsible | None = None

    def compose(self) -> ComposeResult:
        """Progress at first; the rest as it comes."""
        yield Static("…" if not self._is_stale else "", id="progress", markup=False)

    @property
    def parts(self) -> tuple[str, str]:
        """Reasoning and answer."""
        if self._given_reasoning:
            return self._given_reasoning, self._text
        return split_reasoning(self._text)

    @property
    def plain(self) -> str:
        """The answer without its reasoning."""
        return self.parts[1].strip()

    @property
    def is_cut(self) -> bool:
        """Whether there is more of it than is drawn."""
        return len(self.parts[1]) > MAX_MARKDOWN

    @property
    def is_empty(self) -> bool:
        """Nothing has come."""
        return not self._text

    def push(self, text: str) -> None:
        """More of the answer."""
        self._text += text
        self._is_stale = True

    def mark(self, text: str) -> None:
        """Mark each place of a (case-folded) text in what is drawn."""
        if self._markdown is not None:
            self._markdown.mark(text)

    def toggle_reasoning(self) -> None:
        """Unfold the reasoning, or fold it."""
        if self._fold is not None:
            self._fold.collapsed = not self._fold.collapsed

    def progress(self, text: str) -> None:
        """Say how far a call is that has no text yet."""
        self.query_one("#progress", Static).update(clip(text)[0])

    async def flush(self, breathe: Breathe = at_once) -> None:
        """Draw what has come: only the last block of Markdown is made anew."""
        if not self._is_stale or not self.is_attached:
            return
        self._is_stale = False
        reasoning, answer = self.parts
        before_reasoning, before = self._drawn
        if not (reasoning or answer):
            return
        self.progress("")
        self.query_one("#progress").display = False
        if reasoning != before_reasoning:
            await self._draw_reasoning(reasoning)
        if answer != before:
            await self._draw_answer(answer, before, breathe)
        self._drawn = (reasoning, answer)

    async def finish(self, result: Any = None, *, note: str = "") -> None:
        """The answer is whole: draw it once more as a whole, and what it took."""
        await self.flush()
        self.query_one("#progress").display = False
        if self._markdown is not None:
            self._markdown.update(_safe(self.plain[:MAX_MARKDOWN]))
            await self.query("#tail").remove()
            if self.is_cut:
                await self._draw_tail(self.plain)
        about = note or (usage_text(result) if isinstance(result, Mapping) else "")
        if about:
            await self.mount(Static(about, id="footer", markup=False))

    async def _draw_reasoning(self, text: str) -> None:
        from textual.widgets import Collapsible
        from textual.widgets._collapsible import CollapsibleTitle

        shown = clip(text)[0]
        title = f"reasoning, {len(text.split())} words"
        if self._fold is None:
            self._fold = Collapsible(
                Static(shown, id="reasoning", markup=False), title=title, collapsed=True
            )
            await self.mount(self._fold, before=0)
            self._fold.query_one(CollapsibleTitle).can_focus = False  # Enter on the entry unfolds
        else:
            self._fold.query_one("#reasoning", Static).update(shown)
            self._fold.title = title

    async def _draw_answer(self, text: str, before: str, breathe: Breathe) -> None:
        from lingos_shell.tui.markdown import MarkdownLines  # dear: only with the first answer

        if self._markdown is None:
            self._markdown = MarkdownLines(_safe(text[:MAX_MARKDOWN]))
            await self.mount(self._markdown, before="#footer" if self.query("#footer") else None)
        elif text.startswith(before):
            if more := text[len(before) : MAX_MARKDOWN]:
                await self._markdown.append(_safe(more), breathe)
        else:
            self._markdown.update(_safe(text[:MAX_MARKDOWN]))
        if len(text) > MAX_MARKDOWN:
            await self._draw_tail(text)

    async def _draw_tail(self, text: str) -> None:
        hidden = text[MAX_MARKDOWN:].count("\n")
        last = "\n".join(clip(line)[0] for line in text[-4000:].splitlines()[-TAIL:])
        shown = f"… {hidden:,} lines more; Enter shows all. The last ones:\n{last}"
        if found := self.query("#tail"):
            found.only_one(Static).update(shown)
        else:
            await self.mount(Static(shown, id="tail", markup=False), after=self._markdown)


def _safe(text: str) -> str:
    """Markdown without control characters; a line end at its end stays."""
    return clean_lines(text) + ("\n" if text.endswith("\n") else "")


def usage_text(result: Mapping[str, Any]) -> str:
    """What an answer took: tokens, rate, times."""
    usage = result.get("usage") or {}
    if not usage:
        return ""
    total_s, tokens = usage.get("total_s") or 0.0, usage.get("output_tokens", 0)
    parts = [
        str(result.get("model", "")),
        f"{tokens} tokens",
        f"{rate(tokens / total_s if total_s else 0.0)} tok/s",
        f"first after {seconds(usage.get('first_token_s'))}",
        f"{seconds(total_s)} in all",
    ]
    cut = ""
    if result.get("finish_reason") == "length":
        cut = " · cut at the limit; /set max_tokens allows more"
    return " · ".join(part for part in parts if part) + cut
