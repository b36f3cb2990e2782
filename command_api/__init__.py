"""HTTP → ``lock-facts``, and the answers from ``lock-events``."""
