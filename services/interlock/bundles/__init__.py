"""The bundle: the versioned, content-addressed specification of one LLM feature."""

from interlock.bundles.model import Bundle

__all__ = ["Bundle"]
