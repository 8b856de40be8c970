"""What must hold after every step of a simulation, whatever fails."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

LINK_LIFETIME_SECONDS = 20.0
MARGIN_SECONDS = 8.0
INTEGRATIONS = "SELECT integration_id, origin_id, deleted_at FROM kombo_embed_integrations"
CONNECTED = (
    "SELECT integration_id, count(*) FROM kombo_embed_events WHERE type = 'integration.connected' "
    "GROUP BY integration_id"
)


class Violated(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A link as Kombo minted it."""

    origin_id: str
    email: str
    at: float


@dataclass(slots=True)
class Truth:
    """What happened, as seen from outside: from Kombo, and from browsers."""

    minted: dict[str, Minted] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)  # of integrations, as Kombo knows them
    acknowledged: dict[str, str] = field(default_factory=dict)  # integrations with their origin ids
    deleted: set[str] = field(default_factory=set)  # whose deletion was acknowledged
    erased: dict[str, float] = field(default_factory=dict)  # integrations of erased customers, and since when
    handled: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # handler, event id, integration
    events: set[tuple[str, str]] = field(
        default_factory=set
    )  # integration and event id, as handlers get them
    links_handed_out: int = 0
    completed: int = 0

    def begin_erasure(self, origin_id: str) -> None:
        """Note that a customer's integrations may be gone from now on."""
        for integration_id in self.integrations_of(origin_id):
            self.acknowledged.pop(integration_id, None)
            self.deleted.discard(integration_id)

    def end_erasure(self, origin_id: str, now: float) -> None:
        """Note that they are gone, for good."""
        self.erased.update(dict.fromkeys(self.integrations_of(origin_id), now))

    def integrations_of(self, origin_id: str) -> list[str]:
        """Return all integrations of a customer."""
        return [one for one, owner in self.owners.items() if owner == origin_id]


class Invariants:
    """Compares the database and what browsers get with the truth."""

    def __init__(self, truth: Truth, database: sqlite3.Connection) -> None:
        self._truth = truth
        self._database = database
        self.checks = 0
        self._problem: BaseException | None = None

    def found(self, problem: BaseException) -> None:
        """Let the next check raise what went wrong elsewhere."""
        self._problem = self._problem or problem

    def check_records(self) -> None:
        """One record per integration, of its owner; nothing lost; nothing that is gone comes back."""
        self.checks += 1
        if self._problem is not None:
            raise self._problem
        rows = self._database.execute(INTEGRATIONS).fetchall()
        found = {integration_id: (origin_id, deleted_at) for integration_id, origin_id, deleted_at in rows}
        if len(found) != len(rows):
            raise Violated("an integration has two records")
        owners = self._truth.owners
        none_of = {
            "recorded for another customer": [one for one in found if found[one][0] != owners.get(one)],
            "acknowledged and lost": self._truth.acknowledged.keys() - found.keys(),
            "deleted and back": [one for one in self._truth.deleted & found.keys() if found[one][1] is None],
            "erased and back": self._truth.erased.keys() & found.keys(),
        }
        for violation, ids in none_of.items():
            if ids:
                raise Violated(f"{sorted(ids)} are {violation}")
        self._check_events()

    def _check_events(self) -> None:
        for integration_id, count in self._database.execute(CONNECTED):
            if count != 1:
                raise Violated(f"{integration_id} has {count} integration.connected")
        ids = Counter(integration_id for integration_id, _ in self._truth.events)
        if ids.total() != len(ids):
            raise Violated("handlers got two integration.connected of one integration")

    def check_link(self, body: bytes, *, email: str, origin_id: str, cache_status: str, now: float) -> None:
        """A link is the requester's own, and has its margin left; less only while Kombo fails."""
        link = json.loads(body)["link"]
        minted = self._truth.minted.get(link)
        self._truth.links_handed_out += 1
        if minted is None:
            raise Violated("a link that Kombo never minted was handed out")
        if minted.origin_id != origin_id or minted.email not in {email, ""}:
            raise Violated(f"a link of {minted.email} was handed out to {email}")
        left = minted.at + LINK_LIFETIME_SECONDS - now
        if left < (0 if "kombo-unavailable" in cache_status else MARGIN_SECONDS):
            raise Violated(f"a link with {left:.3f} s left was handed out ({cache_status})")

    def missing_calls(self, handlers: set[str]) -> list[tuple[str, str]]:
        """Return which handlers were never called for which acknowledged integration."""
        called = {(handler, integration_id) for handler, _, integration_id in self._truth.handled}
        wanted = {(name, one) for name in handlers for one in self._truth.acknowledged}
        return sorted(wanted - called)
