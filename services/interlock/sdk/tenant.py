"""What the clients of one tenant have in common: a connection with its own credential."""

from pathlib import Path
from types import TracebackType
from typing import Self

from interlock.runtime.broker.connect import BrokerClient, connect
from interlock.runtime.broker.credentials import load_credential
from interlock.runtime.commit import Committer
from interlock_contracts.subjects import LIVE_CELL


class TenantClient:
    """A connection that writes for one tenant. Safe for concurrent use; one is enough."""

    _USER_PREFIX: str
    """What stands before the tenant in the name of the credential's user."""

    def __init__(self, client: BrokerClient, tenant: str, *, cell: str = LIVE_CELL) -> None:
        self.tenant = tenant
        self._cell = cell
        self._client = client
        self._committer = Committer(client)

    @classmethod
    async def connect(
        cls, url: str, credential: Path, *, tenant: str | None = None, cell: str = LIVE_CELL
    ) -> Self:
        """Connect with a credential file of the tenant's.

        Raises:
            UserError: the credential cannot be read, or the broker is away or refuses it.
        """
        seed = load_credential(credential)
        client = await connect(url, seed, name=seed.user)
        own = cls(client, tenant or seed.user.removeprefix(cls._USER_PREFIX), cell=cell)
        await own._begin()
        return own

    async def _begin(self) -> None:
        """What is to be done once connected."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._committer.close()
        await self._client.close()
