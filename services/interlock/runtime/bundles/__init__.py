"""Bundles on the broker: stored by digest, activated by an event on the log, swapped while running.

`store` has the bundles themselves: `BundleStore(client, cell, verifier).get(digest)` is how
anybody (a service, a replay) comes by one. `pointer` says which of them requests start on,
`live` is a service's side of a change, `rollout` an operator's.
"""

from interlock.runtime.bundles.store import BundleStore

__all__ = ["BundleStore"]
