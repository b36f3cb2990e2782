"""``lockstream parked …``: facts that could not become events, and what operators do with them."""
