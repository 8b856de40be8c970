"""All queries of support on one database."""

from __future__ import annotations

from kombo_embed.ports import Clock
from kombo_embed.store.database import Database
from kombo_embed.store.support.customers import Customers
from kombo_embed.store.support.event_pages import EventPages
from kombo_embed.store.support.overview import Overview
from kombo_embed.store.support.rollups import Rollups


class Support:
    """The pages of the console: customers, events, the overview; and the counts behind the overview."""

    def __init__(self, database: Database, *, environment: str, clock: Clock) -> None:
        self.environment = environment
        self.customers = Customers(database, environment=environment, clock=clock)
        self.events = EventPages(database, environment=environment, clock=clock)
        self.overview = Overview(database, environment=environment, clock=clock)
        self.rollups = Rollups(database, environment=environment, clock=clock)
