"""Runs what the outbox asks for: in the server's own process, or by dramatiq on Redis."""
