-- The tables of version 2 that are other ones in version 3 make room for these, and so do the names of their indexes.

DROP INDEX alerts_by_time;
DROP INDEX alerts_by_rule;
DROP INDEX alert_entities_by_value;
DROP INDEX incidents_by_update;
DROP INDEX incidents_open;
DROP INDEX incidents_merged;
DROP INDEX incident_entities_by_value;
DROP INDEX incident_labels_by_value;
DROP INDEX changes_by_incident;
ALTER TABLE alerts RENAME TO old_alerts;
ALTER TABLE alert_entities RENAME TO old_alert_entities;
ALTER TABLE incidents RENAME TO old_incidents;
ALTER TABLE incident_entities RENAME TO old_incident_entities;
ALTER TABLE incident_labels RENAME TO old_incident_labels;
ALTER TABLE changes RENAME TO old_changes;
