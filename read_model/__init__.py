"""Holds the disposable read model: tables, the fold of ``lock-events`` into them, and the
queries."""
