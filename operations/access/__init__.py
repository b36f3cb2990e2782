"""``lockstream acl …``: says what each role and verb may do in Kafka, and allows it."""
