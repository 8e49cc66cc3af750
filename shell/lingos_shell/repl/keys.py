"""The keys of the line REPL, as the documents list them; `repl.prompt` binds them."""

from __future__ import annotations

KEYS = (
    ("Enter", "sends; where a block, a joined line or a pipe is open it begins a new line"),
    ("Alt-Enter", "begins a new line; in multi-line mode it sends"),
    ("F3", "multi-line mode on and off"),
    ("F4", "emacs or vi keys; `shell.editing` in the settings says which come first"),
    ("Tab", "completes: syscalls, arguments, models, files, pids, variables"),
    ("Right, Ctrl-E", "takes the grey suggestion from the history"),
    ("Up, Down, Ctrl-R", "history; lines that begin with a blank are not kept"),
    ("Ctrl-X Ctrl-E", "writes the line in $EDITOR and sends it (vi: v)"),
    ("Ctrl-C", "stops the answer and nothing else; at the prompt it empties the line"),
    ("Ctrl-D", "leaves, on an empty line"),
)
