"""The model store: pull, verify, list, remove."""
