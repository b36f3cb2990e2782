"""Holds what the rooms of the command have in common: settings, clients, options, output."""
