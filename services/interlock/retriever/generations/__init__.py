"""Whole indexes, made of each other: what they hold, how they are made, where they are."""
