"""What other teams write against: submitting requests, bringing documents, running tools."""

from interlock.sdk.documents import (
    Change,
    DocumentContended,
    DocumentErased,
    DocumentRejected,
    Documents,
    Written,
)
from interlock.sdk.executor import Reconciled, ToolContext, ToolError, ToolExecutor
from interlock.sdk.producer import NoAnswer, Producer, RequestConflict, RequestRejected

__all__ = [
    "Change",
    "DocumentContended",
    "DocumentErased",
    "DocumentRejected",
    "Documents",
    "NoAnswer",
    "Producer",
    "Reconciled",
    "RequestConflict",
    "RequestRejected",
    "ToolContext",
    "ToolError",
    "ToolExecutor",
    "Written",
]
