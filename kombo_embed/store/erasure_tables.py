"""What is kept of customers whose personal data was erased, so that late reports bring nothing back."""

from __future__ import annotations

import sqlalchemy as sa

from kombo_embed.store.columns import UtcDateTime, metadata, short

# The key of the digests of origin ids, random, written by the first erasure. It has the life of the digests,
# so it is beside them: it is no secret from who can read the database.
erasure_keys = sa.Table(
    "kombo_embed_erasure_keys",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("digest_key", sa.LargeBinary, nullable=False),
)

erased_origins = sa.Table(
    "kombo_embed_erased_origins",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("origin_digest", sa.String(64), primary_key=True),
    sa.Column("erased_at", UtcDateTime, nullable=False),
)

# The digest says whose it was, for an erasure that continues after a crash, or deletes at Kombo later.
erased_integrations = sa.Table(
    "kombo_embed_erased_integrations",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("integration_id", short(255), primary_key=True),
    sa.Column("origin_digest", sa.String(64), nullable=False),
    sa.Column("erased_at", UtcDateTime, nullable=False),
    sa.Index("ix_kombo_embed_erased_integrations_origin_digest", "environment", "origin_digest"),
)
