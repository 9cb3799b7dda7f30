-- Schema of the store, version 2, as it was: what a test brings to the version of today.

CREATE TABLE partitions (
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
CREATE TABLE state (
    owner TEXT NOT NULL,
    key INTEGER NOT NULL,
    length INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;

CREATE TABLE alerts (
    alert_id TEXT NOT NULL PRIMARY KEY,
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
CREATE INDEX alerts_by_time ON alerts (first_time, alert_id);
CREATE INDEX alerts_by_rule ON alerts (rule_id, first_time, alert_id);

CREATE TABLE alert_entities (
    alert_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (alert_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_entities_by_value ON alert_entities (value, kind);

CREATE TABLE incidents (
    incident_id TEXT NOT NULL PRIMARY KEY,
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
CREATE INDEX incidents_by_update ON incidents (updated, incident_id);
CREATE INDEX incidents_open ON incidents (open) WHERE open = 1;
CREATE INDEX incidents_merged ON incidents (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE incident_entities (
    incident_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (incident_id, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_entities_by_value ON incident_entities (value, kind);

-- label: `tactic` or `rule`
CREATE TABLE incident_labels (
    incident_id TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (incident_id, label, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_labels_by_value ON incident_labels (label, value);

-- What people decide. The engine's commits never write over a row of these two.
CREATE TABLE triage (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (incident_id),
    status TEXT NOT NULL,
    assignee TEXT,
    verdict TEXT,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE comments (
    comment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (incident_id),
    author TEXT NOT NULL,
    time INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX comments_by_incident ON comments (incident_id, comment_id);

-- History of incidents; `seq` is the id of server-sent events and is never used twice.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    time INTEGER NOT NULL,
    author TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX changes_by_incident ON changes (incident_id, seq);

-- 'WEIR': tells a store from any other SQLite file.
PRAGMA application_id = 0x57454952;
PRAGMA user_version = 2;
