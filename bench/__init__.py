"""Measures the running product, with every guarantee on. ``make bench`` repeats it."""
