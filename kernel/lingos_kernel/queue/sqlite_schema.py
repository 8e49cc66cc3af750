"""The tables and statements of the SQLite broker.

Each partial index holds the jobs of one state only, so what is due is found without a scan, and a
claim reads just the first rows of the queue's order.
"""

# ruff: noqa: S608  the statements are put together from this module's own constants alone
from __future__ import annotations

READY, CLAIMED, DEAD, DONE, DELAYED = range(5)
"""States. DONE rows are kept, without payload, only to remember their idempotency key."""

VERSION = 1

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    tenant TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    payload BLOB NOT NULL,
    idempotency_key TEXT,
    max_attempts INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    receipt INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    created_s REAL NOT NULL,
    due_s REAL NOT NULL,
    expires_s REAL
);
CREATE INDEX IF NOT EXISTS ready ON jobs (queue, priority, id) WHERE state = {READY};
CREATE INDEX IF NOT EXISTS delayed ON jobs (due_s) WHERE state = {DELAYED};
CREATE INDEX IF NOT EXISTS claimed ON jobs (due_s) WHERE state = {CLAIMED};
CREATE INDEX IF NOT EXISTS dead ON jobs (queue, due_s) WHERE state = {DEAD};
CREATE INDEX IF NOT EXISTS done ON jobs (due_s) WHERE state = {DONE};
CREATE INDEX IF NOT EXISTS expiring ON jobs (expires_s)
    WHERE expires_s IS NOT NULL AND state IN ({READY}, {DELAYED});
CREATE UNIQUE INDEX IF NOT EXISTS once ON jobs (queue, tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
"""
# due_s: when a delayed job is ready, when a claim is lost, when a dead or done job ended.

PUT = """
INSERT INTO jobs (queue, tenant, priority, state, payload, idempotency_key, max_attempts,
                  created_s, due_s, expires_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

FIND_BY_KEY = "SELECT id FROM jobs WHERE queue = ? AND tenant = ? AND idempotency_key = ?"

READY_IDS = f"""
SELECT * FROM (SELECT id, priority FROM jobs WHERE state = {READY} AND queue = ?
               ORDER BY priority, id LIMIT ?)
"""

READY_IDS_OF_MANY = f"""
SELECT jobs.id, jobs.priority FROM json_each(?) AS named JOIN jobs ON jobs.id IN (
    SELECT id FROM jobs AS ready WHERE ready.state = {READY} AND ready.queue = named.value
    ORDER BY ready.priority, ready.id LIMIT ?)
"""

MANY = 100
"""SQLite puts no more than 500 SELECTs together."""


def claim(queues: int) -> str:
    """Claims from so many queues. Parameters: worker, due_s, (queue, limit)..., limit.

    For `MANY` and more the queues are one parameter, a JSON list.
    """
    ids = READY_IDS_OF_MANY if queues >= MANY else " UNION ALL ".join([READY_IDS] * queues)
    return f"""
        UPDATE jobs SET state = {CLAIMED}, attempts = attempts + 1, receipt = receipt + 1,
                        worker = ?, due_s = ?
        WHERE id IN (SELECT id FROM ({ids}) ORDER BY priority, id LIMIT ?)
        RETURNING id, queue, payload, priority, tenant, attempts, max_attempts, worker,
                  created_s, receipt
    """


HELD = f"id = ? AND state = {CLAIMED} AND receipt = ? AND worker = ?"

DELETE_HELD = f"""
DELETE FROM jobs WHERE {HELD} AND idempotency_key IS NULL RETURNING queue, tenant
"""

FINISH_HELD = f"""
UPDATE jobs SET state = {DONE}, payload = x'', due_s = ? WHERE {HELD} RETURNING queue, tenant
"""

EXTEND_HELD = f"UPDATE jobs SET due_s = ? WHERE {HELD}"

FAIL_HELD = f"UPDATE jobs SET state = ?, due_s = ?, error = ? WHERE {HELD}"

ATTEMPTS_HELD = f"SELECT attempts, max_attempts, queue, tenant FROM jobs WHERE {HELD}"

UNCLAIM_HELD = f"UPDATE jobs SET state = {READY}, attempts = attempts - 1 WHERE {HELD}"

LOSE = f"""
UPDATE jobs SET
    state = CASE WHEN attempts >= max_attempts THEN {DEAD} ELSE {READY} END,
    error = 'worker ' || worker || ' did not finish attempt ' || attempts,
    due_s = ?
WHERE state = {CLAIMED} AND
"""

LOSE_DUE = f"{LOSE} due_s <= ? RETURNING queue, tenant, state"

LOSE_WORKER = f"{LOSE} worker = ? RETURNING queue, tenant, state"

EXPIRE_DUE = f"""
UPDATE jobs SET state = {DEAD}, due_s = ?, error = 'expired before anybody claimed it'
WHERE expires_s IS NOT NULL AND state IN ({READY}, {DELAYED}) AND expires_s <= ?
RETURNING queue, tenant, state
"""

WAKE_DUE = f"UPDATE jobs SET state = {READY} WHERE state = {DELAYED} AND due_s <= ?"

NEXT_DUE = f"""
SELECT min(due_s) FROM (SELECT min(due_s) AS due_s FROM jobs WHERE state = {DELAYED}
                        UNION ALL SELECT min(due_s) FROM jobs WHERE state = {CLAIMED})
"""

FORGET_KEYS = f"DELETE FROM jobs WHERE state = {DONE} AND due_s <= ?"

DEAD_LETTERS = f"""
SELECT id, queue, payload, tenant, attempts, error, due_s FROM jobs
WHERE state = {DEAD} AND queue = ? ORDER BY due_s, id LIMIT ?
"""

REQUEUE = f"""
UPDATE jobs SET state = {READY}, attempts = 0, error = '', expires_s = NULL
WHERE id = :id AND state = {DEAD} AND (:tenant IS NULL OR tenant = :tenant)
RETURNING queue, tenant
"""

PURGE = f"DELETE FROM jobs WHERE state = {DEAD} AND queue = ?"

LIVE = f"""
SELECT count(*) FROM jobs WHERE queue = :queue AND (:tenant IS NULL OR tenant = :tenant)
                            AND state IN ({READY}, {DELAYED}, {CLAIMED})
"""

STATS = f"""
SELECT queue, sum(state = {READY}), sum(state = {DELAYED}), sum(state = {CLAIMED}),
       sum(state = {DEAD}), min(CASE WHEN state IN ({READY}, {DELAYED}) THEN created_s END)
FROM jobs WHERE state <> {DONE} GROUP BY queue ORDER BY queue
"""

SAVE_TIME = "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_s', ?)"

LOAD_TIME = "SELECT value FROM meta WHERE key = 'last_s'"
