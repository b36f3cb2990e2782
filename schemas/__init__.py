"""Holds the public contract: one file per topic. Imports msgspec and the standard library only."""
