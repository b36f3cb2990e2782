"""``lock-events`` → partner topics: one consumer group and one topic for each partner."""
