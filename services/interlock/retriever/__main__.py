"""`python -m interlock.retriever`: serve the retriever."""

from interlock.retriever.wire import wire
from interlock.runtime.main import serve

if __name__ == "__main__":
    serve("retriever", wire)
