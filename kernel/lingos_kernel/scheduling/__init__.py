"""Pure scheduling decisions: no torch, no clock of its own."""
