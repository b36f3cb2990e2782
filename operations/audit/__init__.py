"""``lockstream verify``: checks the log, the registry and the read model against each other."""
