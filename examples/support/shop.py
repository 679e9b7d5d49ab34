"""The example's shop: a SQLite database, and what the tools of `tools.py` do in it.

Settings come from the environment: `SHOP_DATABASE` (path of the database, default
`.state/shop.sqlite`) and `SHOP_LATENCY_MS` (default 0). The latency is waited out *after* a write
has been committed and before the tool answers, as a slow provider would: a process killed in
that time leaves an effect that happened and an outcome nobody recorded. The crash demo and
the crash tests use it.

All names and addresses are invented.
"""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from examples.support.tools import (
    CancelOrder,
    ChangeAddress,
    CreateRefund,
    GetOrder,
    Order,
    Receipt,
    Refund,
    SendReceipt,
)

from interlock.sdk import Reconciled, ToolContext, ToolError, ToolExecutor

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  tenant TEXT NOT NULL, order_id TEXT NOT NULL, customer TEXT NOT NULL, items TEXT NOT NULL,
  placed_on TEXT NOT NULL, status TEXT NOT NULL, paid_cents INTEGER NOT NULL,
  address TEXT NOT NULL, PRIMARY KEY (tenant, order_id));
CREATE TABLE IF NOT EXISTS refunds (
  number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, order_id TEXT NOT NULL,
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0), reason TEXT NOT NULL,
  requested_by TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS changes (
  idempotency_key TEXT PRIMARY KEY, tenant TEXT NOT NULL, order_id TEXT NOT NULL,
  kind TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
  idempotency_key TEXT PRIMARY KEY, tenant TEXT NOT NULL, order_id TEXT NOT NULL,
  email TEXT NOT NULL);
"""

_ORDERS = (
    ("acme", "A-1001", "maria", "1 x Ridgeline bypass pruner", "2026-10-12", "delivered", 4500,
     "77 Larkspur Lane, Salem"),
    ("acme", "A-1002", "maria", "1 x HT-40 cordless hedge trimmer", "2026-10-20", "delivered",
     18900, "77 Larkspur Lane, Salem"),
    ("acme", "A-1003", "tom", "1 x Forged border spade", "2026-10-05", "delivered", 7250,
     "3 Orchard Row, Eugene"),
    ("acme", "A-1004", "tom", "1 x Wall hose reel, 30 m", "2026-11-02", "shipped", 12900,
     "3 Orchard Row, Eugene"),
    ("acme", "A-1005", "ines", "2 x Leaf rake", "2026-11-18", "processing", 5600,
     "Hillside Nursery, 410 Ridge Road, Bend"),
    ("acme", "A-1006", "maria", "1 x Folding pruning saw", "2026-11-19", "processing", 5800,
     "77 Larkspur Lane, Salem"),
    ("acme", "A-1007", "ines", "1 x Steel wheelbarrow", "2026-09-28", "delivered", 24000,
     "Hillside Nursery, 410 Ridge Road, Bend"),
    ("globex", "G-2001", "noor", "1 x Conical burr grinder", "2026-06-15", "delivered", 14900,
     "8 Bakers Yard, Oakland"),
    ("globex", "G-2002", "noor", "2 x Sidamo, 1 kg", "2026-11-20", "processing", 6400,
     "8 Bakers Yard, Oakland"),
    ("globex", "G-2003", "jonas", "1 x Duo espresso machine", "2026-10-22", "delivered", 64900,
     "52 Canal Street, Sacramento"),
    ("globex", "G-2004", "jonas", "1 x Gooseneck kettle", "2026-11-14", "shipped", 7900,
     "52 Canal Street, Sacramento"),
    ("globex", "G-2005", "li", "1 x Filter starter set", "2026-11-01", "delivered", 5400,
     "19 Quay Terrace, Fresno"),
    ("globex", "G-2006", "li", "1 x Brewing scale", "2026-11-21", "processing", 3900,
     "19 Quay Terrace, Fresno"),
)  # fmt: skip

_REFUNDED = (("acme", "A-1007", 12_000, "damaged", "ines", "seed-A-1007"),)


class Shop:
    """The shop's database. Every tool takes its arguments and the call it runs under."""

    def __init__(self, database: Path, latency_ms: int = 0) -> None:
        self._database = database
        self._latency_s = latency_ms / 1000

    def seed(self) -> None:
        """Create the tables and the example's orders, leaving alone what is already there."""
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            marks = "?, ?, ?, ?, ?, ?, ?, ?"
            connection.executemany(f"INSERT OR IGNORE INTO orders VALUES ({marks})", _ORDERS)
            connection.executemany(
                "INSERT OR IGNORE INTO refunds (tenant, order_id, amount_cents, reason, "
                "requested_by, idempotency_key) VALUES (?, ?, ?, ?, ?, ?)",
                _REFUNDED,
            )
            connection.commit()

    def refunds(self, tenant: str, order_id: str) -> list[int]:
        """The refunds of an order in cents, oldest first: what a test or demo counts."""
        with self._transaction() as shop:
            rows = shop.execute(
                "SELECT amount_cents FROM refunds WHERE tenant = ? AND order_id = ? "
                "ORDER BY number",
                (tenant, order_id),
            )
            return [row["amount_cents"] for row in rows]

    async def get_order(self, arguments: GetOrder, call: ToolContext) -> Order:
        """One order of the tenant; also the fact the policies judge by."""
        with self._transaction() as shop:
            return _order(shop, call.tenant, arguments.order_id)

    async def create_refund(self, arguments: CreateRefund, call: ToolContext) -> Refund:
        """Pay money back. A second call with the same key returns the first refund."""
        with self._transaction() as shop:
            known = _refund(shop, call.idempotency_key)
            if known is None:
                order = _order(shop, call.tenant, arguments.order_id)
                if arguments.amount_cents > order.refundable_cents:
                    left = money(order.refundable_cents)
                    raise ToolError(f"only {left} of order {arguments.order_id} can be refunded")
                _insert_refund(shop, call, order, arguments.amount_cents, arguments.reason)
                known = _refund(shop, call.idempotency_key)
        await asyncio.sleep(self._latency_s)
        assert known is not None
        return known

    async def cancel_order(self, arguments: CancelOrder, call: ToolContext) -> Order:
        """Cancel an order and refund what was paid. Repeated with the same key: no change."""
        with self._transaction() as shop:
            order = _changeable(shop, call, arguments.order_id, "cancel it")
            if order.status != "cancelled":
                shop.execute(
                    "UPDATE orders SET status = 'cancelled' WHERE tenant = ? AND order_id = ?",
                    (call.tenant, arguments.order_id),
                )
                if order.refundable_cents:
                    amount = order.refundable_cents
                    _insert_refund(shop, call, order, amount, "cancelled")
                _note_change(shop, call, arguments.order_id, "cancel", "cancelled")
            outcome = _order(shop, call.tenant, arguments.order_id)
        await asyncio.sleep(self._latency_s)
        return outcome

    async def change_address(self, arguments: ChangeAddress, call: ToolContext) -> Order:
        """Deliver an order somewhere else."""
        with self._transaction() as shop:
            _changeable(shop, call, arguments.order_id, "send it elsewhere")
            shop.execute(
                "UPDATE orders SET address = ? WHERE tenant = ? AND order_id = ?",
                (arguments.address, call.tenant, arguments.order_id),
            )
            _note_change(shop, call, arguments.order_id, "address", arguments.address)
            outcome = _order(shop, call.tenant, arguments.order_id)
        await asyncio.sleep(self._latency_s)
        return outcome

    async def find_address_change(self, arguments: ChangeAddress, call: ToolContext) -> Reconciled:
        """What became of a `change_address` whose outcome is unknown."""
        with self._transaction() as shop:
            if not _changed(shop, call.idempotency_key):
                return Reconciled.did_not_happen()
            return Reconciled.landed(_order(shop, call.tenant, arguments.order_id))

    async def send_receipt(self, arguments: SendReceipt, call: ToolContext) -> Receipt:
        """Put a receipt into the outbox, once for a key."""
        with self._transaction() as shop:
            order = _order(shop, call.tenant, arguments.order_id)
            shop.execute(
                "INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?)",
                (call.idempotency_key, call.tenant, order.order_id, arguments.email),
            )
        await asyncio.sleep(self._latency_s)
        return Receipt(
            order_id=order.order_id,
            email=arguments.email,
            summary=f"The receipt of order {order.order_id} goes to {arguments.email}.",
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back on an error."""
        with closing(sqlite3.connect(self._database, timeout=10, isolation_level=None)) as shop:
            shop.row_factory = sqlite3.Row
            shop.execute("PRAGMA synchronous = FULL")
            shop.execute("BEGIN IMMEDIATE")
            try:
                yield shop
            except BaseException:
                shop.execute("ROLLBACK")
                raise
            shop.execute("COMMIT")


def money(cents: int) -> str:
    """4500 as $45.00."""
    return f"${cents // 100}.{cents % 100:02}"


def _order(shop: sqlite3.Connection, tenant: str, order_id: str) -> Order:
    row = shop.execute(
        "SELECT o.*, COALESCE((SELECT SUM(amount_cents) FROM refunds r WHERE r.tenant = o.tenant "
        "AND r.order_id = o.order_id), 0) AS refunded_cents FROM orders o "
        "WHERE o.tenant = ? AND o.order_id = ?",
        (tenant, order_id),
    ).fetchone()
    if row is None:
        raise ToolError(f"there is no order {order_id}")
    paid, refunded = row["paid_cents"], row["refunded_cents"]
    return Order(
        **{name: row[name] for name in ("customer", "items", "placed_on", "status", "address")},
        order_id=order_id,
        paid_cents=paid,
        refunded_cents=refunded,
        refundable_cents=paid - refunded,
        summary=(
            f"Order {order_id} ({row['items']}) of {row['placed_on']} is {row['status']}: "
            f"{money(paid)} paid, {money(refunded)} refunded."
        ),
    )


def _refund(shop: sqlite3.Connection, key: str) -> Refund | None:
    row = shop.execute("SELECT * FROM refunds WHERE idempotency_key = ?", (key,)).fetchone()
    if row is None:
        return None
    amount = money(row["amount_cents"])
    return Refund(
        refund_id=f"R-{row['number']:04}",
        order_id=row["order_id"],
        amount_cents=row["amount_cents"],
        summary=f"{amount} of order {row['order_id']} were refunded.",
    )


def _insert_refund(
    shop: sqlite3.Connection, call: ToolContext, order: Order, cents: int, reason: str
) -> None:
    shop.execute(
        "INSERT INTO refunds (tenant, order_id, amount_cents, reason, requested_by, "
        "idempotency_key) VALUES (?, ?, ?, ?, ?, ?)",
        (call.tenant, order.order_id, cents, reason, call.requester, call.idempotency_key),
    )


def _changed(shop: sqlite3.Connection, key: str) -> bool:
    found = shop.execute("SELECT 1 FROM changes WHERE idempotency_key = ?", (key,)).fetchone()
    return found is not None


def _changeable(shop: sqlite3.Connection, call: ToolContext, order_id: str, what: str) -> Order:
    """The order, if it is still processing or this very change was made before."""
    order = _order(shop, call.tenant, order_id)
    if order.status != "processing" and not _changed(shop, call.idempotency_key):
        raise ToolError(f"order {order_id} is {order.status}: too late to {what}")
    return order


def _note_change(
    shop: sqlite3.Connection, call: ToolContext, order_id: str, kind: str, value: str
) -> None:
    shop.execute(
        "INSERT OR IGNORE INTO changes VALUES (?, ?, ?, ?, ?)",
        (call.idempotency_key, call.tenant, order_id, kind, value),
    )


def from_environment() -> Shop:
    """The shop the settings in the environment name, seeded."""
    database = Path(os.environ.get("SHOP_DATABASE", ".state/shop.sqlite"))
    shop = Shop(database, int(os.environ.get("SHOP_LATENCY_MS", "0")))
    shop.seed()
    return shop


def executor() -> ToolExecutor:
    """The shop's tools, registered: what a tool-executor serves."""
    tools, shop = ToolExecutor(), from_environment()
    tools.tool(GetOrder)(shop.get_order)
    tools.tool(CreateRefund)(shop.create_refund)
    tools.tool(CancelOrder)(shop.cancel_order)
    tools.tool(ChangeAddress)(shop.change_address)
    tools.tool(SendReceipt)(shop.send_receipt)
    tools.reconcile(ChangeAddress)(shop.find_address_change)
    return tools
