"""Holds what tests, bench and chaos share: a PostgreSQL of their own, and a collector of traces."""
