"""`python -m interlock.audit_sink`: serve the audit-sink."""

from interlock.audit_sink.wire import wire
from interlock.runtime.main import serve

if __name__ == "__main__":
    serve("audit-sink", wire)
