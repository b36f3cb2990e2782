"""Makes up the ``lockstream`` command: a folder for each group of verbs, put together in
``command.py``."""
