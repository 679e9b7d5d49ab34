"""What other teams write against: submitting requests, and running tools."""

from interlock.sdk.executor import Reconciled, ToolContext, ToolError, ToolExecutor
from interlock.sdk.producer import NoAnswer, Producer, RequestConflict, RequestRejected

__all__ = [
    "NoAnswer",
    "Producer",
    "Reconciled",
    "RequestConflict",
    "RequestRejected",
    "ToolContext",
    "ToolError",
    "ToolExecutor",
]
