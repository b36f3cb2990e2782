"""Consumers, each a process of its own: what the replay is compared with, and the partner."""
