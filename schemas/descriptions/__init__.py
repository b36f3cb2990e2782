"""Describes the topics for others: AsyncAPI and JSON Schemas, made from the records' types."""
