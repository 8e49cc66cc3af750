"""The notebook kernel: Python cells that speak the shell's language."""
