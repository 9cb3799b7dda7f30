//! Lists of indicators: STIX, MISP, warning lists, CSV and plain lines.

use std::cell::OnceCell;

use tempfile::TempDir;
use weir_connectors::enrich::{EnrichConfig, Enricher, Form, ListConfig};

const FORMS: [Form; 6] = [
    Form::Auto,
    Form::Stix,
    Form::Misp,
    Form::WarningList,
    Form::Lines,
    Form::Csv,
];

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A file in one of the forms, as indicators or as exclusions: its length tells which.
pub fn intel(data: &[u8]) {
    let form = FORMS[data.len() % FORMS.len()];
    read(data, form, data.len() / FORMS.len() % 2 == 1);
}

/// A file in every form.
pub fn intel_in_all_forms(data: &[u8]) {
    for form in FORMS {
        read(data, form, false);
        read(data, form, true);
    }
}

/// Reads the same each time.
fn read(data: &[u8], form: Form, exclude: bool) {
    FOLDER.with(|folder| {
        let folder =
            folder.get_or_init(|| tempfile::tempdir().unwrap_or_else(|error| panic!("{error}")));
        let path = folder.path().join("list");
        std::fs::write(&path, data).unwrap_or_else(|error| panic!("{error}"));
        let list = ListConfig {
            path,
            form,
            exclude,
            ..ListConfig::default()
        };
        let config = EnrichConfig {
            indicators: vec![list],
            ..EnrichConfig::default()
        };
        assert_eq!(open(&config), open(&config));
    });
}

fn open(config: &EnrichConfig) -> (usize, usize, Vec<String>) {
    let (enricher, warnings) = Enricher::open(config);
    (enricher.indicators(), enricher.exclusions(), warnings)
}
