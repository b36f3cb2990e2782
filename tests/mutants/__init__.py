"""Bugs that were thought of beforehand: each is put in, and the tests that it names must notice."""
