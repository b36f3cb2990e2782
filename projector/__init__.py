"""``lock-facts`` → ``lock-events``: gives every fact its version, and folds the read model."""
