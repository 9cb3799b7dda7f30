//! Anomaly models of Weir: feature queries, training, scoring and artefacts.
