"""Where integrations stay: SQLAlchemy Core on one database, Alembic for its tables, an outbox for hooks."""
