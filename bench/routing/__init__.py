"""How well and how fast requests are routed, measured on CLINC150's development splits."""

from bench.routing.quality import run_routing

__all__ = ["run_routing"]
