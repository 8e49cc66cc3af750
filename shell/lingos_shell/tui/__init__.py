"""The terminal interface (Textual): sessions beside a live picture of the scheduler."""
