"""The tables and statements of the contexts."""

# ruff: noqa: S608  the statements are put together from this module's own constants alone
from __future__ import annotations

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER REFERENCES nodes (id),
    start INTEGER NOT NULL,
    tokens BLOB NOT NULL,
    entries BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS children ON nodes (parent) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS contexts (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    is_shared INTEGER NOT NULL,
    model TEXT NOT NULL,
    model_id TEXT NOT NULL,
    node INTEGER REFERENCES nodes (id),
    length INTEGER NOT NULL,
    forked_from TEXT NOT NULL,
    created_s REAL NOT NULL,
    updated_s REAL NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE TABLE IF NOT EXISTS turns (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    result BLOB NOT NULL,
    written_s REAL NOT NULL,
    PRIMARY KEY (tenant, name, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turns_by_age ON turns (written_s);
CREATE INDEX IF NOT EXISTS heads ON contexts (node) WHERE node IS NOT NULL;
"""
# turns: what jobs have added, so that one that is begun again adds nothing twice.
# tokens: 4 bytes each, little-endian. entries: JSON, see `contexts.Entry`.

_HEAD = """
tenant, name, owner, is_shared, model, model_id, node, length, forked_from, created_s, updated_s
"""

GET = f"SELECT {_HEAD} FROM contexts WHERE tenant = ? AND name = ?"

LIST = f"SELECT {_HEAD} FROM contexts WHERE tenant = ? ORDER BY name"

NAMES = "SELECT name FROM contexts WHERE tenant = ? AND (is_shared OR owner = ? OR ?)"

ADD = f"""
INSERT INTO contexts ({_HEAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

LINE = """
WITH RECURSIVE line (id, parent, start, tokens, entries) AS (
    SELECT id, parent, start, tokens, entries FROM nodes WHERE id = ?
    UNION ALL
    SELECT nodes.id, nodes.parent, nodes.start, nodes.tokens, nodes.entries
    FROM nodes JOIN line ON nodes.id = line.parent
)
SELECT id, start, tokens, entries FROM line
"""

ADD_NODE = "INSERT INTO nodes (parent, start, tokens, entries) VALUES (?, ?, ?, ?)"

MOVE = """
UPDATE contexts SET node = ?, length = ?, updated_s = ? WHERE tenant = ? AND name = ?
"""

SHARE = "UPDATE contexts SET is_shared = ? WHERE tenant = ? AND name = ?"

REMOVE = "DELETE FROM contexts WHERE tenant = ? AND name = ?"

ADD_TURN = "INSERT INTO turns (tenant, name, key, result, written_s) VALUES (?, ?, ?, ?, ?)"

GET_TURN = "SELECT result FROM turns WHERE tenant = ? AND name = ? AND key = ?"

FORGET_TURNS = "DELETE FROM turns WHERE written_s < ?"

REMOVE_TURNS = "DELETE FROM turns WHERE tenant = ? AND name = ?"

PARENT = "SELECT parent, start FROM nodes WHERE id = ?"

DROP_UNUSED = """
DELETE FROM nodes WHERE id = :node
  AND NOT EXISTS (SELECT 1 FROM nodes AS child WHERE child.parent = :node)
  AND NOT EXISTS (SELECT 1 FROM contexts WHERE node = :node)
RETURNING parent
"""
