"""The table and statements of the job records."""

from __future__ import annotations

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    round INTEGER NOT NULL DEFAULT 0,
    tenant TEXT NOT NULL,
    owner TEXT NOT NULL,
    queue TEXT NOT NULL,
    idempotency_key TEXT,
    request BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    token TEXT NOT NULL DEFAULT '',
    stopped INTEGER NOT NULL DEFAULT 0,
    submitted_s REAL NOT NULL,
    due_s REAL NOT NULL,
    started_s REAL,
    ended_s REAL,
    result BLOB NOT NULL DEFAULT x'',
    error BLOB NOT NULL DEFAULT x''
);
CREATE UNIQUE INDEX IF NOT EXISTS once ON jobs (tenant, owner, queue, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS live ON jobs (queue) WHERE ended_s IS NULL;
CREATE INDEX IF NOT EXISTS ended ON jobs (ended_s) WHERE ended_s IS NOT NULL;
"""

ADD_IDENTITY = "INSERT OR IGNORE INTO meta VALUES ('identity', ?)"

IDENTITY = "SELECT value FROM meta WHERE key = 'identity'"

SELECT = """
SELECT number, round, request, state, attempts, token, stopped, submitted_s, due_s, started_s,
       ended_s, result, error
FROM jobs
"""

GET = f"{SELECT} WHERE number = ?"

LIVE = f"{SELECT} WHERE ended_s IS NULL AND number > ? ORDER BY number LIMIT ?"

NEWEST = f"""
{SELECT}
WHERE (:owner IS NULL OR (tenant = :tenant AND owner = :owner))
  AND (:state IS NULL OR state = :state) AND (:queue IS NULL OR queue = :queue)
ORDER BY number DESC LIMIT :limit
"""

QUEUES = "SELECT DISTINCT queue FROM jobs WHERE ended_s IS NULL ORDER BY queue"

ADD = """
INSERT INTO jobs (tenant, owner, queue, idempotency_key, request, submitted_s, due_s)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING number
"""

FIND_BY_KEY = """
SELECT number FROM jobs WHERE tenant = ? AND owner = ? AND queue = ? AND idempotency_key = ?
"""

FORGET = "DELETE FROM jobs WHERE number = ?"

FORGET_ENDED = "DELETE FROM jobs WHERE ended_s < ?"

BEGIN = """
UPDATE jobs SET state = 'running', attempts = attempts + 1, token = ?, started_s = ?
WHERE number = ?
"""

_END = "UPDATE jobs SET token = '', stopped = 0, state = ?, ended_s = ?"

GIVE_UP = f"{_END}, error = CASE WHEN error = x'' THEN ? ELSE error END WHERE number = ?"

SUCCEED = f"{_END}, result = ?, error = x'' WHERE number = ? AND token = ?"

FAIL = f"{_END}, error = ? WHERE number = ? AND token = ?"

CANCEL = f"{_END} WHERE number = ? AND ended_s IS NULL"

RETRY = "UPDATE jobs SET state = 'waiting', token = '', error = ? WHERE number = ? AND token = ?"

RELEASE = """
UPDATE jobs SET state = 'waiting', token = '', attempts = attempts - 1
WHERE number = ? AND token = ?
"""

RESTART = """
UPDATE jobs SET state = 'waiting', round = round + 1, attempts = 0, submitted_s = ?, due_s = ?,
                started_s = NULL, ended_s = NULL, error = x''
WHERE number = ? AND state IN ('failed', 'cancelled')
"""

SET_STOPPED = "UPDATE jobs SET stopped = ? WHERE number = ? AND ended_s IS NULL"

HOLDS = "SELECT 1 FROM jobs WHERE number = ? AND token = ?"

RECOVER = "UPDATE jobs SET state = 'waiting', token = '' WHERE state = 'running'"
