"""Makes up the ``lockstream`` command: a room for each group of verbs, put together in
``command.py``."""
