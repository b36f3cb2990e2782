"""Holds consumers, each a process of its own: those that the replay is compared with, and the
partner."""
