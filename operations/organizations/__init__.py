"""``lockstream org …``, ``key …`` and ``token …``: says who may send commands."""
