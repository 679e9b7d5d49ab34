"""What other teams write against: tools to be run."""

from interlock.sdk.executor import Reconciled, ToolContext, ToolError, ToolExecutor

__all__ = ["Reconciled", "ToolContext", "ToolError", "ToolExecutor"]
