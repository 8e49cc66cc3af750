"""How the interface looks: its own themes, and what each role of text is drawn in."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="lingos-dark",
    primary="#6cb2ff",
    secondary="#a394ff",
    accent="#f3c15f",
    success="#6fd99a",
    warning="#f2a65e",
    error="#f4718a",
    foreground="#d8dfeb",
    background="#0d121c",
    surface="#131a27",
    panel="#1c2536",
    dark=True,
    variables={
        "role-kv": "#3fcac2",
        "role-cached": "#2b7f86",
        "role-other": "#71809c",
        "role-free": "#2b364b",
        "footer-key-foreground": "#f3c15f",
        "footer-background": "#131a27",
        "footer-description-foreground": "#9aa6ba",
        "border": "#6cb2ff",
        "border-blurred": "#2b364b",
        "block-cursor-background": "#27405f",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "input-selection-background": "#6cb2ff 35%",
        "scrollbar": "#2b364b",
        "scrollbar-hover": "#3d4c69",
        "scrollbar-active": "#6cb2ff",
        "scrollbar-background": "#0d121c",
        "scrollbar-background-hover": "#0d121c",
        "scrollbar-background-active": "#0d121c",
        "scrollbar-corner-color": "#0d121c",
    },
)
LIGHT = Theme(
    name="lingos-light",
    primary="#1f6fc4",
    secondary="#6a55c9",
    accent="#a86a00",
    success="#1d7f48",
    warning="#b45b09",
    error="#c02547",
    foreground="#1c2430",
    background="#f7f8fb",
    surface="#eef1f6",
    panel="#e2e7f0",
    dark=False,
    variables={
        "role-kv": "#0d807b",
        "role-cached": "#6ab3b1",
        "role-other": "#7d8798",
        "role-free": "#c9d1de",
        "footer-key-foreground": "#a86a00",
        "block-cursor-background": "#cfe0f5",
        "block-cursor-foreground": "#10151d",
        "block-cursor-text-style": "none",
        "border": "#1f6fc4",
        "border-blurred": "#c9d1de",
        "scrollbar": "#c9d1de",
        "scrollbar-background": "#f7f8fb",
    },
)
THEMES = (DARK, LIGHT)
DEFAULT_THEME = DARK.name
ANSI_DARK, ANSI_LIGHT = "ansi-dark", "ansi-light"
"""Textual's own themes in the terminal's sixteen colours."""

VARIABLES = {
    "role-kv": "#3fcac2",
    "role-cached": "#2b7f86",
    "role-other": "#71809c",
    "role-free": "#4a556a",
}
"""For themes that do not know our roles."""

ROLE_CSS = """
.role--text { color: $foreground; }
.role--dim { color: $foreground 50%; }
.role--label { color: $foreground 62%; }
.role--strong { color: $foreground; text-style: bold; }
.role--good { color: $success; }
.role--warn { color: $warning; }
.role--bad { color: $error; text-style: bold; }
.role--accent { color: $accent; }
.role--weights { color: $secondary; }
.role--kv { color: $role-kv; }
.role--cached { color: $role-cached; }
.role--other { color: $role-other; }
.role--free { color: $role-free; }
.role--chip { color: $background; background: $primary; text-style: bold; }
.role--alarm { color: $background; background: $error; text-style: bold; }
.role--cursor { color: $block-cursor-foreground; background: $block-cursor-background; }
.role--head { color: $foreground 62%; background: $surface; text-style: bold; }

App:ansi {
    .role--dim, .role--label { color: ansi_bright_black; }
    .role--kv { color: ansi_cyan; }
    .role--cached { color: ansi_blue; }
    .role--other { color: ansi_white; }
    .role--free { color: ansi_bright_black; }
    .role--chip { color: ansi_black; background: ansi_blue; }
    .role--alarm { color: ansi_black; background: ansi_red; }
    .role--cursor { color: ansi_black; background: ansi_white; }
    .role--head { color: ansi_default; background: ansi_default; text-style: bold reverse; }
}
"""

DIALOG_CSS = """
ModalScreen { align: center middle; background: $background 60%; }
.dialog {
    width: auto; max-width: 90%; min-width: 36; height: auto; max-height: 90%;
    border: round $primary; background: $surface; padding: 0 1;
    border-title-color: $primary; border-title-style: bold;
    border-subtitle-color: $foreground 60%;
}
.dialog OptionList, .dialog OptionList:focus {
    border: none; background: $surface; width: auto; min-width: 34; height: auto; max-height: 18;
    padding: 0;
}
.dialog OptionList > .option-list--option { padding: 0 1; }
.dialog Label { padding: 0 1; width: auto; max-width: 76; }
.dialog.wide { width: 90%; height: 80%; }
"""
