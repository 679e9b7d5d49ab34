"""`python -m interlock.intent_router`: serve the intent-router."""

from interlock.intent_router.wire import wire
from interlock.runtime.main import serve

if __name__ == "__main__":
    serve("intent-router", wire)
