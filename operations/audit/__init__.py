"""The auditor: reads the log, the registry and the read model, and says which promise is broken."""
