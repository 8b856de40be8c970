"""Finds customers by what people know of them, and reads all that one customer did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, RowMapping, Select, func, literal_column, select

from kombo_embed.integration import Integration, next_action
from kombo_embed.store import audit, search_keys
from kombo_embed.store.database import read_only, run_to_completion
from kombo_embed.store.part import StorePart
from kombo_embed.store.queries import from_row
from kombo_embed.store.support.history import Step, read_history, read_links
from kombo_embed.store.tables import integrations, minted_links
from kombo_embed.store.transaction import Transaction

SHOWN = 30  # customers on a page
MATCHES = 300  # rows that are read for them at a time
GREATEST_ID = 2**63 - 1
ROUNDS = 4  # a customer with many integrations must not hide the others
INTEGRATIONS_SHOWN = 100
COLUMNS = integrations.c
# Literals, for which the databases choose the partial index.
IS_BROKEN = COLUMNS.status.in_([literal_column("'INVALID'"), literal_column("'INACTIVE'")])


@dataclass(frozen=True, slots=True)
class CustomerSummary:
    """A customer in a list: how many integrations wait for which next action."""

    origin_id: str
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    next_actions: Counter[str]


@dataclass(frozen=True, slots=True)
class Customer:
    """All that the records say about a customer; ``broken_since`` is by Kombo's id of an integration."""

    origin_id: str
    name: str | None = field(repr=False)
    emails: list[str] = field(repr=False)
    integrations: list[Integration] = field(repr=False)
    deleted_at: dict[str, datetime]
    broken_since: dict[str, datetime]
    checked_at: dict[str, datetime | None]
    history: list[Step] = field(repr=False)


class Customers(StorePart):
    """The customers of one environment: everyone with an integration or a link."""

    @read_only
    async def search(self, term: str) -> tuple[list[CustomerSummary], bool]:
        """Return customers whose id, name or email begins with a term, and whether there are others."""
        async with self._reading() as transaction:
            found: dict[str, RowMapping] = {}
            exact = COLUMNS.origin_id == term, minted_links.c.origin_id == term
            for query in (_rows(exact[0]), _links(exact[1])):
                await _add(transaction, found, query.limit(1))
            has_more = False
            for query, column in _searches(transaction, term):
                if len(found) <= SHOWN:
                    has_more |= await _add_all(transaction, found, query, column)
            return await self._summarize(transaction, found), has_more or len(found) > SHOWN

    @read_only
    async def newest(
        self, *, broken: bool = False, matches: int = MATCHES, before: int | None = None
    ) -> tuple[list[CustomerSummary], bool, int | None]:
        """Return the customers who connected or got a link last; with ``broken``, those to help.

        They are those of the ``matches`` newest integrations, of those ``before`` a position. Also return
        whether there are others, and the position of the next page, which has only those with integrations.
        """
        async with self._reading() as transaction:
            # The inner query reads only the index.
            ids = _ours(transaction, select(COLUMNS.id)).where(COLUMNS.deleted_at.is_(None))
            ids = ids if before is None else ids.where(COLUMNS.id < min(before, GREATEST_ID))
            ids = (ids.where(IS_BROKEN) if broken else ids).order_by(COLUMNS.id.desc()).limit(matches)
            query = _rows(COLUMNS.id.in_(ids)).add_columns(COLUMNS.id).order_by(COLUMNS.id.desc())
            rows = (await transaction.connection.execute(query)).mappings().all()
            found, last = _first(rows)
            last = rows[-1]["id"] if last is None and len(rows) == matches else last
            if not broken and before is None:
                links = _links().order_by(minted_links.c.minted_at.desc())
                await _add(transaction, found, links.limit(SHOWN))
            customers = await self._summarize(transaction, found)
            return customers, last is not None or len(found) > SHOWN, last

    @read_only
    async def read(self, origin_id: str) -> Customer | None:
        """Return a customer with their newest integrations; None if nothing was recorded for the id."""
        async with self._reading() as transaction:
            query = _ours(transaction, select(integrations)).where(COLUMNS.origin_id == origin_id)
            newest = query.order_by(COLUMNS.connected_at.desc(), COLUMNS.id.desc()).limit(INTEGRATIONS_SHOWN)
            rows = (await transaction.connection.execute(newest)).mappings().all()
            links = await read_links(transaction, origin_id)
            history = await read_history(transaction, origin_id, links)
            if not rows and not history:
                return None
            return _customer(origin_id, rows, links=links, history=history)

    @run_to_completion
    async def write_audit(
        self, action: str, *, actor: str, origin_id: str | None, integration_id: str | None = None
    ) -> None:
        """Write that a person of the console did something for a customer."""
        async with self._writing(actor) as transaction:
            await audit.write(transaction, action, origin_id=origin_id, integration_id=integration_id)

    async def _summarize(
        self, transaction: Transaction, found: dict[str, RowMapping]
    ) -> list[CustomerSummary]:
        shown = list(found)[:SHOWN]
        query = _ours(transaction, select(COLUMNS.origin_id, COLUMNS.status, COLUMNS.setup_status))
        query = query.where(COLUMNS.deleted_at.is_(None), COLUMNS.origin_id.in_(shown))
        grouped = query.add_columns(func.count().label("number")).group_by(*query.selected_columns)
        actions: dict[str, Counter[str]] = defaultdict(Counter)
        for row in await transaction.connection.execute(grouped):
            action = next_action(row.status, row.setup_status)
            actions[row.origin_id][action] += row.number
        return [CustomerSummary(one, found[one]["name"], found[one]["email"], actions[one]) for one in shown]


def _searches(transaction: Transaction, term: str) -> Iterable[tuple[Select[Any], Column[str]]]:
    dialect_name = transaction.connection.dialect.name
    for column in (COLUMNS.origin_id, COLUMNS.organization_name, COLUMNS.email):
        yield _rows(search_keys.begins_with(column, term, dialect_name=dialect_name)), COLUMNS.origin_id
    links = minted_links.c
    for column in (links.origin_id, links.email):
        yield _links(search_keys.begins_with(column, term, dialect_name=dialect_name)), links.origin_id


def _rows(*conditions: ColumnElement[bool]) -> Select[Any]:
    columns = COLUMNS.origin_id, COLUMNS.organization_name.label("name"), COLUMNS.email
    return select(*columns).where(*conditions)


def _links(*conditions: ColumnElement[bool]) -> Select[Any]:
    no_name: ColumnElement[str | None] = literal_column("NULL")
    return select(minted_links.c.origin_id, no_name.label("name"), minted_links.c.email).where(*conditions)


def _ours(transaction: Transaction, query: Select[Any]) -> Select[Any]:
    return query.where(query.get_final_froms()[0].c.environment == transaction.environment)


def _first(rows: Sequence[RowMapping]) -> tuple[dict[str, RowMapping], int | None]:
    """Return as many customers as are shown, and the id of the last row before the others'."""
    found: dict[str, RowMapping] = {}
    last = None
    for row in rows:
        if row["origin_id"] is None:  # Kombo named no customer
            continue
        if len(found) == SHOWN and row["origin_id"] not in found:
            return found, last
        found.setdefault(row["origin_id"], row)
        last = row["id"]
    return found, None


async def _add(transaction: Transaction, found: dict[str, RowMapping], query: Select[Any]) -> int:
    """Add the customers of a query's rows to those found; return how many rows it had."""
    rows = (await transaction.connection.execute(_ours(transaction, query))).mappings().all()
    for row in rows:
        if row["origin_id"] is not None:  # Kombo named no customer
            found.setdefault(row["origin_id"], row)
    return len(rows)


async def _add_all(
    transaction: Transaction, found: dict[str, RowMapping], query: Select[Any], origin_id: Column[str]
) -> bool:
    """Add rows until there are enough customers; return whether there are more rows."""
    for _ in range(ROUNDS):
        others = query.where(origin_id.not_in(list(found))) if found else query
        if await _add(transaction, found, others.limit(MATCHES)) < MATCHES:
            return False
        if len(found) > SHOWN:
            break
    return True


def _customer(
    origin_id: str, rows: Sequence[RowMapping], *, links: Sequence[RowMapping], history: list[Step]
) -> Customer:
    emails = [row["email"] for row in (*rows, *links) if row["email"]]
    names = [row["organization_name"] for row in rows if row["organization_name"]]
    return Customer(
        origin_id,
        name=next(iter(names), None),
        emails=list(dict.fromkeys(emails)),
        integrations=[from_row(row) for row in rows],
        deleted_at={row["integration_id"]: row["deleted_at"] for row in rows if row["deleted_at"]},
        broken_since=dict(_broken_since(rows, history)),
        checked_at={row["integration_id"]: row["checked_at"] for row in rows},
        history=history,
    )


def _broken_since(rows: Sequence[RowMapping], history: list[Step]) -> Iterable[tuple[str, datetime]]:
    """Return when each broken integration got its status: by the event, else by Kombo's time, if known."""
    for row in rows:
        if row["deleted_at"] is not None or row["status"] not in {"INVALID", "INACTIVE"}:
            continue
        changes = (
            step.at
            for step in history
            if step.integration_id == row["integration_id"]
            and step.data.get("changes", {}).get("status", {}).get("to") == row["status"]
        )
        yield row["integration_id"], next(changes, row["state_updated_at"] or row["updated_at"])
