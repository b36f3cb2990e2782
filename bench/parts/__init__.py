"""Measures: one module for each part, a function that keeps what it finds in the workbench.
``PARTS`` in ``bench.__main__`` lists them."""
