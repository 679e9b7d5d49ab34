"""The bundles of a cell on the broker: one message each, by digest, signed, written once.

The body is the bundle's canonical JSON, the bytes its digest is taken over. The signature in the
headers is over the digest and the author. Both are checked at every read: whoever can write to
the broker's disk, or has its credential, but not the key, cannot bring a bundle in.
"""

import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from interlock.bundles.errors import BundleRefused, BundleUnknown
from interlock.bundles.model import Bundle
from interlock.runtime.broker.topology import bundle_stream, bundle_subject
from interlock.runtime.errors import RetryLater, UserError
from interlock.runtime.log import StoredMessage, stored
from interlock.runtime.signing import SigningKey, Verifier
from interlock_contracts.base import MAX_EVENT_BYTES
from interlock_contracts.canonical import canonical_json, digest_bytes
from interlock_contracts.failures import FailureCode

KEY = "Interlock-Key"
SIGNATURE = "Interlock-Signature"
AUTHOR = "Interlock-Author"

_TAKEN = (10071, 10077)
"""Error codes of a subject that has its message: this digest is stored already."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A stored bundle, who pushed it and when (UTC, the broker's clock)."""

    bundle: Bundle
    author: str
    at: datetime


def _signed_bytes(digest: str, author: str) -> bytes:
    return canonical_json({"interlock": "bundle 1", "digest": digest, "author": author})


class BundleStore:
    """Reads a cell's bundles with any credential that may; what was read is kept.

    `keep` bounds how many. A bundle never changes, so what is kept is never stale.
    """

    def __init__(self, client: Client, cell: str, trusted: Verifier, *, keep: int = 64) -> None:
        self._client = client
        self._cell = cell
        self._trusted = trusted
        self._keep = keep
        self._known: OrderedDict[str, Bundle] = OrderedDict()

    async def get(self, digest: str) -> Bundle:
        """The bundle with this digest.

        Raises:
            BundleUnknown: nobody has pushed it.
            BundleRefused: what is stored is altered, or not signed by a trusted key.
            RetryLater: the broker did not answer.
        """
        known = self._known.get(digest)
        if known is not None:
            self._known.move_to_end(digest)
            return known
        subject = bundle_subject(self._cell, digest)
        found = await stored(self._client, bundle_stream(self._cell), {"last_by_subj": subject})
        if found is None:
            raise BundleUnknown(digest)
        bundle = self._open(found).bundle
        self._known[digest] = bundle
        if len(self._known) > self._keep:
            self._known.popitem(last=False)
        return bundle

    async def pushed(self) -> AsyncIterator[Pushed | BundleRefused]:
        """Everything stored, in the order it was pushed; for what must not be used, why."""
        sequence = 1
        while True:
            query = {"seq": sequence, "next_by_subj": bundle_subject(self._cell)}
            found = await stored(self._client, bundle_stream(self._cell), query)
            if found is None:
                return
            sequence = found.sequence + 1
            try:
                yield self._open(found)
            except BundleRefused as refused:
                yield refused

    def _open(self, found: StoredMessage) -> Pushed:
        digest = f"sha256:{found.subject.rpartition('.')[2]}"
        headers = found.headers
        author = headers.get(AUTHOR, "")
        if digest_bytes(found.body) != digest:
            raise BundleRefused(f"{digest}: what is stored is not this bundle; it was altered")
        signed = _signed_bytes(digest, author)
        if not self._trusted.signed(headers.get(KEY, ""), headers.get(SIGNATURE, ""), signed):
            raise BundleRefused(f"{digest}: not signed by a key that is trusted here")
        try:
            bundle = Bundle.model_validate_json(found.body)
        except ValidationError as error:
            reason = f"{error.error_count()} things this version of Interlock does not know"
            raise BundleRefused(f"{digest}: {reason}") from None
        if bundle.digest != digest:
            raise BundleRefused(f"{digest}: this version of Interlock reads it as another bundle")
        return Pushed(bundle, author, found.logged_at)


async def push(client: Client, cell: str, bundle: Bundle, key: SigningKey, author: str) -> bool:
    """Store a bundle, signed; False if it was stored before. `client` is the operator's.

    Raises:
        UserError: it is too large, or the broker refused it.
        RetryLater: the broker did not answer.
    """
    body = canonical_json(bundle)
    if len(body) > MAX_EVENT_BYTES - 4096:
        raise UserError(
            f"the bundle is {len(body):,} bytes; the broker takes {MAX_EVENT_BYTES - 4096:,}: "
            "keep documents and examples out of prompts and tools"
        )
    digest = digest_bytes(body)
    signature = key.signature(_signed_bytes(digest, author))
    headers = {KEY: key.key_id, SIGNATURE: signature, AUTHOR: author}
    subject = bundle_subject(cell, digest)
    try:
        reply = await client.request(subject, body, timeout=10, headers=headers)
    except nats.errors.Error as error:
        reason = f"the broker did not take the bundle: {type(error).__name__}"
        raise RetryLater(FailureCode.STAGE_FAILED, reason) from error
    problem = json.loads(reply.data).get("error")
    if problem is None:
        return True
    if problem.get("err_code") in _TAKEN:
        return False
    raise UserError(f"the broker did not take the bundle: {problem.get('description')}")
