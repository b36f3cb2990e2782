"""Holds how we use Kafka, and is the only package of the product that imports aiokafka."""
