"""Turns HTTP requests into ``lock-facts``, and ``lock-events`` into answers."""
