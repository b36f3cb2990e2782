"""``lockstream org …``, ``key …`` and ``token …``: who may send commands."""
