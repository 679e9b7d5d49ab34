"""`python -m interlock.contract_validator`: serve the contract-validator."""

from interlock.contract_validator.wire import wire
from interlock.runtime.main import serve

if __name__ == "__main__":
    serve("contract-validator", wire)
