"""What PostgreSQL's errors mean: whether a retry helps, and what the operator can do."""

from __future__ import annotations

import re
import ssl

TOO_MANY_CONNECTIONS = "53300"
# Appendix A of PostgreSQL's manual: states in which the transaction was rolled back and may be run again.
TRANSIENT_STATES = {
    "08003",  # the connection does not exist any more
    "08006",  # the connection failed
    "0A000",  # a cached plan does not fit the table any more, after a migration
    "23505",  # another transaction inserted the same key first
    "25P03",  # idle_in_transaction_session_timeout ended this connection
    "25P04",  # transaction_timeout ended this connection
    "40001",  # serialization failure
    "40P01",  # deadlock
    TOO_MANY_CONNECTIONS,  # too many connections
    "55P03",  # lock_timeout
    "57P01",  # the server is shutting down, or an administrator ended this connection
    "57P02",  # the server crashed
    "57P03",  # the server is starting
    "57P05",  # idle_session_timeout ended this connection
}
READ_ONLY_STATE = "25006"
# Prepared statements that this connection made are not on the server, or others are: a pooler is between.
LOST_STATEMENT_STATES = {"26000", "42P05"}
DENIED = re.compile(r"permission denied for \w+ [\w\".]+")
NO_CONNECT = re.compile(r'permission denied for (database "[^"]+")')
UNREACHABLE = (
    "Check that PostgreSQL runs, and that KOMBO_DATABASE_URL names the right host, user, password and "
    "database."
)
CERTIFICATE = "Name the authority that signed PostgreSQL's certificate: sslrootcert=/path/to/root.crt"
OPTIONS = "PostgreSQL may have refused a setting of options= in KOMBO_DATABASE_URL."
REMEDIES = {
    "08P01": (
        "The pooler before PostgreSQL may have refused the connection: see its log. PgBouncer accepts "
        "options= in KOMBO_DATABASE_URL only if its ignore_startup_parameters names it."
    ),
    "22023": OPTIONS,
    "25006": (
        "PostgreSQL accepts no writes on this connection: the server is a standby, or "
        "default_transaction_read_only is set. KOMBO_DATABASE_URL must lead to the primary."
    ),
    "28000": "PostgreSQL refuses this login: check the user of KOMBO_DATABASE_URL, and pg_hba.conf.",
    "28P01": "PostgreSQL refuses this login: check the user and the password of KOMBO_DATABASE_URL.",
    "3D000": "The database that KOMBO_DATABASE_URL names does not exist.",
    "42501": (
        "The role of KOMBO_DATABASE_URL lacks a privilege. The next start names it as SQL; kombo-embed "
        "migrate needs the role that owns the tables."
    ),
    "42704": OPTIONS,
    "53100": "The disk of the PostgreSQL server is full.",
    "55P03": "Another transaction holds a lock for longer than lock_timeout: see pg_locks.",
    "57014": "A statement took too long, maybe because another transaction holds a lock: see pg_locks.",
}


def state_of(error: BaseException) -> str | None:
    """Return the error's SQLSTATE, if it has one."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None


def describe(error: Exception) -> str:
    """Return the error's type and SQLSTATE, and the object of a missing privilege.

    Other messages of PostgreSQL's could quote values.
    """
    wrapped = getattr(error, "orig", None)
    cause = wrapped.__cause__ or wrapped if wrapped else error
    state = state_of(error)
    denied = DENIED.search(str(cause)) if state == "42501" else None
    details = [state, denied.group() if denied else None]
    return " ".join([type(cause).__name__, *(f"({detail})" for detail in details if detail)])


def remedy(error: Exception, *, role: str) -> str:
    """Return what the operator can do; ``role`` is the one that logs in, "" if unknown."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CERTIFICATE
    no_connect = NO_CONNECT.search(str(error))
    if no_connect is not None:
        role = role or "the role of KOMBO_DATABASE_URL"
        return f"As its owner, run: GRANT CONNECT ON {no_connect[1]} TO {role};"
    return REMEDIES.get(state_of(error) or "", UNREACHABLE)
