"""Conversations with a model."""
