"""Holds what people would write instead: small honest programs.

Each is as its library's documentation would have it, in one process, with uvloop and httptools as
ours. ``python -m bench.alternatives.<name>``. Settings are environment variables: ``PORT``,
``JWKS`` (a file), ``KAFKA_BOOTSTRAP_SERVERS`` and ``TOPIC``, or ``POSTGRES_URL``."""
