-- After the tables of version 2 were renamed and those of version 3 created: what they hold. The alerts and entities of an
-- incident were in its body. Those of one that is not open keep the order that they have there, those of an open one get the
-- one that the engine goes on with. A body that is damaged is taken over as it is, so that who reads it names it.

INSERT INTO alerts (alert_id, rule_id, level, state, first_time, last_time, revision, created, updated, body)
SELECT alert_id, rule_id, level, state, first_time, last_time, revision, created, updated, body
FROM old_alerts ORDER BY rowid;

INSERT INTO alert_entities (chunk, value, kind, alert_no)
SELECT a.alert_no >> 14, e.value, e.kind, a.alert_no
FROM old_alert_entities e JOIN alerts a USING (alert_id) ORDER BY 1, 2, 3, 4;

INSERT INTO incidents (incident_id, level, risk_score, first_time, last_time, open, merged_into, withdrawn, revision,
                       created, updated, body)
SELECT incident_id, level, risk_score, first_time, last_time, open, merged_into, withdrawn, revision, created, updated,
       CASE WHEN json_valid(body) THEN json_remove(body, '$.alert_ids', '$.entities') ELSE body END
FROM old_incidents ORDER BY rowid;

INSERT OR IGNORE INTO incident_alerts (incident_no, first_time, alert_id)
SELECT i.incident_no, coalesce(CASE WHEN o.open THEN a.first_time END, o.first_time + each.key), each.value
FROM old_incidents o JOIN incidents i USING (incident_id)
JOIN json_each(CASE WHEN json_valid(o.body) THEN o.body ELSE '{}' END, '$.alert_ids') each
LEFT JOIN alerts a ON a.alert_id = each.value;

INSERT INTO incident_entities (incident_no, kind, value, alerts)
SELECT i.incident_no, e.kind, e.value, count(*)
FROM incidents i JOIN incident_alerts USING (incident_no) JOIN old_alert_entities e USING (alert_id)
WHERE i.open GROUP BY 1, 2, 3;

INSERT OR IGNORE INTO incident_entities (incident_no, kind, value, alerts)
SELECT i.incident_no, each.value ->> 'kind', each.value ->> 'value',
       json_array_length(o.body, '$.entities') - each.key
FROM old_incidents o JOIN incidents i USING (incident_id)
JOIN json_each(CASE WHEN json_valid(o.body) THEN o.body ELSE '{}' END, '$.entities') each
WHERE NOT o.open;

INSERT INTO incident_labels (label, value, incident_no)
SELECT label, value, i.incident_no FROM old_incident_labels JOIN incidents i USING (incident_id) ORDER BY 1, 2, 3;

INSERT INTO changes (seq, incident_no, kind, time, author, detail)
SELECT seq, i.incident_no, kind, time, author, detail
FROM old_changes JOIN incidents i USING (incident_id) ORDER BY seq;

DROP TABLE old_alerts;
DROP TABLE old_alert_entities;
DROP TABLE old_incidents;
DROP TABLE old_incident_entities;
DROP TABLE old_incident_labels;
DROP TABLE old_changes;
