"""Holds how we use Kafka, and is the only package that imports aiokafka."""
