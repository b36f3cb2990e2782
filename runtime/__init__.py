"""Holds what every role needs to be a process: settings, errors, logs, a health page, an orderly
stop."""
