"""Keeps every event, so that a change, a loss or an insertion can be proven."""
