"""Holds what the folders of the command have in common: settings, clients, options, output."""
