"""Evaluations: a gold set run through the stages, and what came out against what should."""
