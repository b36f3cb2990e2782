"""Runs the exactly-once stage that projector and fan-out share: fence, restore, consume."""
