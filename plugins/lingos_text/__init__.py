"""First function library: text."""
