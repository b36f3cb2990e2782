"""The topics, described for others: AsyncAPI and JSON Schemas, made from the records' types."""
