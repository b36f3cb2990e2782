"""Each kind of client of aiokafka's, which has no types, has a typed class here."""
