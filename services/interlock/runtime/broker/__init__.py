"""The broker: who may do what on it, its configuration, its process, and how to connect."""
