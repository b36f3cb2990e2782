"""Delivers ``lock-events`` to partners: one consumer group and one topic for each partner."""
