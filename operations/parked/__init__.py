"""``lockstream parked …``: shows, retries and discards facts that could not become events."""
