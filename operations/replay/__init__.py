"""``lockstream replay``: exports the event stream to files."""
