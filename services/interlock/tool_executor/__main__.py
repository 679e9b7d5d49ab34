"""`python -m interlock.tool_executor`: serve the tool-executor."""

from interlock.runtime.main import serve
from interlock.tool_executor.wire import wire

if __name__ == "__main__":
    serve("tool-executor", wire)
