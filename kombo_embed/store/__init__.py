"""The records: SQLAlchemy Core on SQLite or PostgreSQL, Alembic migrations, and the outbox."""
