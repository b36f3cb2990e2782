"""Measures the product with every guarantee on, beside what others would write instead.
``make bench`` repeats it."""
