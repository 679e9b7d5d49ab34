"""Contract tests: what does this bundle's gate say to this proposal?

    gate = BundleGate("examples/support")
    refund = gate.call("create_refund", {"order_id": "A-1001", "amount_cents": 99_900},
                       text="Refund 999 EUR of A-1001", facts={"order": ORDER})
    refund.is_refused("policy_forbids")

No broker, no model, no network: the gate judges with the bundle's own contracts and policies.
`Incident` is a case file (`interlock events ID --export`) as a regression test.
"""

from interlock.testing.gate import BundleGate, Earlier, Outcome
from interlock.testing.incident import Incident

__all__ = ["BundleGate", "Earlier", "Incident", "Outcome"]
