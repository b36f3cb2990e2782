"""``lockstream up``, ``status`` and one verb for each role: runs the system and shows how it is."""
