-- Schema of the store, version 3 (`PRAGMA user_version`). Times are µs since the epoch; levels are 0
-- (informational) to 4 (critical). `body` is as JSON the whole alert, or the incident but for its alerts and entities; the
-- columns beside it are for filters and order only.
--
-- Alerts and incidents have numbers in the order in which they came, so that what is written together lies together. Where
-- values are looked for, the first column of the index is a chunk of 16,384 numbers, for the same reason: in an index by value
-- alone, each new row is a page to write of its own once there are many. Who looks for a value asks every chunk.

CREATE TABLE IF NOT EXISTS partitions (
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    next INTEGER NOT NULL,
    max_time INTEGER,
    -- `read`, `processed`, … of batch::Counts
    events_read INTEGER NOT NULL,
    processed INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    late INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;

-- `checksum` is xxh3-64 over owner, key and value, so that swapped pieces are found as well.
CREATE TABLE IF NOT EXISTS state (
    owner TEXT NOT NULL,
    key INTEGER NOT NULL,
    length INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;

CREATE TABLE IF NOT EXISTS alerts (
    alert_no INTEGER PRIMARY KEY,
    alert_id TEXT NOT NULL UNIQUE,
    rule_id TEXT NOT NULL,
    level INTEGER NOT NULL,
    state TEXT NOT NULL,
    first_time INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS alerts_by_time ON alerts (first_time, alert_id);
CREATE INDEX IF NOT EXISTS alerts_by_rule ON alerts (rule_id, first_time, alert_id);

CREATE TABLE IF NOT EXISTS alert_entities (
    -- alert_no >> 14
    chunk INTEGER NOT NULL,
    value TEXT NOT NULL,
    kind TEXT NOT NULL,
    alert_no INTEGER NOT NULL,
    PRIMARY KEY (chunk, value, kind, alert_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS incidents (
    incident_no INTEGER PRIMARY KEY,
    incident_id TEXT NOT NULL UNIQUE,
    level INTEGER NOT NULL,
    risk_score INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    open INTEGER NOT NULL,
    -- the survivor itself, never an incident that joined another one later
    merged_into TEXT,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS incidents_by_update ON incidents (updated, incident_id);
CREATE INDEX IF NOT EXISTS incidents_open ON incidents (open) WHERE open = 1;
CREATE INDEX IF NOT EXISTS incidents_merged ON incidents (merged_into) WHERE merged_into IS NOT NULL;

-- In order: by the alert's first time as it was when the incident was told last, and its id.
CREATE TABLE IF NOT EXISTS incident_alerts (
    incident_no INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    alert_id TEXT NOT NULL,
    PRIMARY KEY (incident_no, first_time, alert_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS incident_entities (
    incident_no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    -- of how many of its alerts: their order
    alerts INTEGER NOT NULL,
    PRIMARY KEY (incident_no, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS incident_entities_by_value ON incident_entities (incident_no >> 14, value, kind);

-- label: `tactic` or `rule`
CREATE TABLE IF NOT EXISTS incident_labels (
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    incident_no INTEGER NOT NULL,
    PRIMARY KEY (label, value, incident_no)
) STRICT, WITHOUT ROWID;

-- What people decide. The engine's commits never write over a row of these two.
CREATE TABLE IF NOT EXISTS triage (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (incident_id),
    status TEXT NOT NULL,
    assignee TEXT,
    verdict TEXT,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS comments (
    comment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (incident_id),
    author TEXT NOT NULL,
    time INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS comments_by_incident ON comments (incident_id, comment_id);

-- History of incidents; `seq` is the id of server-sent events and is never used twice.
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    time INTEGER NOT NULL,
    author TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS changes_by_incident ON changes (incident_no, seq);

-- 'WEIR': tells a store from any other SQLite file.
PRAGMA application_id = 0x57454952;
PRAGMA user_version = 3;
