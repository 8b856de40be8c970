"""Delivery of events from the outbox to the host's handlers."""
