"""Runs approved actions, and nothing else."""
