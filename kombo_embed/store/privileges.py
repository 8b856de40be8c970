"""What a PostgreSQL role may do with our tables, and the GRANT statements for what it may not."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import bindparam, text

from kombo_embed.store.migrations import VERSION_TABLE
from kombo_embed.store.tables import metadata
from kombo_embed.store.transaction import Connection

# Every role can read the catalogs. Tables are searched in the schemas of search_path by name, since without
# USAGE on its schema PostgreSQL resolves no table. An identity column needs no privilege on its sequence; a
# default that calls nextval does.
MISSING = text("""
WITH path AS (
 SELECT namespace.oid, namespace.nspname, entry.position
 FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY AS entry(name, position)
 JOIN pg_catalog.pg_namespace AS namespace
 ON namespace.nspname = replace(trim(both ' "' from entry.name), '$user', current_user)
), found AS (
 SELECT DISTINCT ON (relation.relname) relation.oid, relation.relname, path.nspname, path.oid AS namespace
 FROM path JOIN pg_catalog.pg_class AS relation ON relation.relnamespace = path.oid
 WHERE relation.relname IN :tables AND relation.relkind IN ('r', 'p', 'v')
 ORDER BY relation.relname, has_schema_privilege(path.oid, 'USAGE') DESC, path.position
), missing AS (
 SELECT DISTINCT 1 AS rank, 1 AS position, 'USAGE' AS privilege, 'SCHEMA ' AS kind,
 quote_ident(nspname) AS name
 FROM found WHERE NOT has_schema_privilege(namespace, 'USAGE')
 UNION ALL
 SELECT 2, position, privilege, '', format('%I.%I', nspname, relname)
 FROM found CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])
 WITH ORDINALITY AS needed(privilege, position)
 WHERE (relname <> :version_table OR privilege = 'SELECT') AND NOT has_table_privilege(oid, privilege)
 UNION ALL
 SELECT DISTINCT 3, 1, 'USAGE', 'SEQUENCE ', format('%I.%I', namespace.nspname, sequence.relname)
 FROM found
 JOIN pg_catalog.pg_attrdef AS given ON given.adrelid = found.oid
 JOIN pg_catalog.pg_depend AS needs ON needs.classid = 'pg_attrdef'::regclass AND needs.objid = given.oid
 AND needs.refclassid = 'pg_class'::regclass
 JOIN pg_catalog.pg_class AS sequence ON sequence.oid = needs.refobjid
 JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = sequence.relnamespace
 WHERE CASE sequence.relkind WHEN 'S' THEN NOT has_sequence_privilege(sequence.oid, 'USAGE, UPDATE') END
)
SELECT quote_ident(current_user) AS role, privilege, kind, name FROM missing ORDER BY rank, name, position
""").bindparams(
    bindparam("tables", [*metadata.tables, VERSION_TABLE], expanding=True),
    bindparam("version_table", VERSION_TABLE),
)


async def find_missing(connection: Connection) -> str | None:
    """Return which privileges the role lacks, with the SQL that grants them; None if it has all."""
    rows = (await connection.execute(MISSING)).all()
    if not rows:
        return None
    privileges = defaultdict[tuple[str, str], list[str]](list)
    for row in rows:
        privileges[row.kind, row.name].append(row.privilege)
    role = rows[0].role
    statements = " ".join(_grants(privileges, role=role))
    return f"The PostgreSQL role {role} lacks privileges. As the tables' owner, run: {statements}"


def _grants(privileges: dict[tuple[str, str], list[str]], *, role: str) -> list[str]:
    """Return one statement for all objects of a kind that lack the same privileges."""
    names = defaultdict[tuple[str, str], list[str]](list)
    for (kind, name), lacking in privileges.items():
        names[kind, ", ".join(lacking)].append(name)
    return [f"GRANT {lacking} ON {kind}{', '.join(on)} TO {role};" for (kind, lacking), on in names.items()]
