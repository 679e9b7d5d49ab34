"""Interlock: the model proposes, the system disposes."""

__version__ = "0.1.0"
