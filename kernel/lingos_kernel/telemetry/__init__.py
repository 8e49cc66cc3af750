"""One immutable snapshot of everything."""
