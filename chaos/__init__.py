"""The fault suite: whole systems under load, broken on a seeded schedule, then audited."""
