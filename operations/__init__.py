"""The ``lockstream`` command: one module per verb group."""
