"""Runs a real Apache Kafka on this machine, for ``lockstream up`` and the tests."""
