"""How we use Kafka. The only package that imports aiokafka."""
