"""How much personal data is found, measured on presidio-research's development texts."""

from bench.pii.quality import run_pii

__all__ = ["run_pii"]
