"""The tools of this feature: `interlock up` and the tool-executor find them here."""

from examples.support.shop import executor

__all__ = ["executor"]
