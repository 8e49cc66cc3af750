"""The scheduler without an engine: the same decisions, with time foreseen instead of spent."""
