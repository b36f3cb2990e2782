"""Breaks whole systems under load on a seeded schedule, then audits them: the fault suite."""
