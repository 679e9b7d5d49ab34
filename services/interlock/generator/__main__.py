"""`python -m interlock.generator`: serve the generator."""

from interlock.generator.wire import wire
from interlock.runtime.main import serve

if __name__ == "__main__":
    serve("generator", wire)
