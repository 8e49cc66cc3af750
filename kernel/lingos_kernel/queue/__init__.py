"""Bounded message queues, mailboxes and topics."""
