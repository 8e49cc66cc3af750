"""Principals, capabilities and the audit record."""
