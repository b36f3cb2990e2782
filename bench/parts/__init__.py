"""What is measured, one module for each part: a function from the workbench, which keeps what it
finds. ``PARTS`` in ``bench.__main__`` lists them."""
