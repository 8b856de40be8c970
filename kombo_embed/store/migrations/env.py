"""Alembic's entry point, on the connection of `kombo_embed.store.migrations.run`."""

from __future__ import annotations

from alembic import context

from kombo_embed.store.migrations import VERSION_TABLE
from kombo_embed.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
