//! From the configured lists to indicators and exclusions: tells their forms apart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::{Form, ListConfig};
use super::exclude::{ALL, Exclusions, How};
use super::files::{content, files, is_json};
use super::index::{Collected, Origin};
use super::json::{self, Part};
use super::value::{self, Kind};
use super::{misp, stix, text};
use crate::enrich::list::{self, Refused};
use crate::enrich::problems::{Account, Problems};

/// Confidence of an indicator whose list states none.
const DEFAULT_CONFIDENCE: u8 = 50;

/// Bundles and envelopes within each other.
const ENVELOPES: usize = 8;

/// Reads every list.
pub fn read(lists: &[ListConfig], problems: &mut Problems) -> (Collected, Exclusions) {
    let mut reader = Reader::default();
    for config in lists {
        let name = config.path.file_stem().unwrap_or_default();
        let files = files(&config.path, problems);
        for (path, in_feed) in files {
            // A feed is one source; a folder of lists is many.
            let name = if in_feed {
                Some(name)
            } else {
                path.file_stem()
            };
            let name = name.unwrap_or_default().to_string_lossy();
            let source = config.source.as_deref().unwrap_or(&name).into();
            reader.file(&path, &List { config, source }, problems);
        }
    }
    reader.flush_stix();
    (reader.indicators, reader.exclusions)
}

/// What is known of the list that is read.
struct List<'a> {
    config: &'a ListConfig,
    source: Arc<str>,
}

/// A version of a STIX indicator; of several the newest counts, whatever file it stands in.
struct Version {
    modified: i64,
    /// None when it is revoked.
    values: Vec<(Kind, String)>,
    origin: Origin,
    confidence: u8,
    valid: (i64, i64),
}

#[derive(Default)]
struct Reader {
    indicators: Collected,
    exclusions: Exclusions,
    stix: HashMap<String, Version>,
    /// Of the file that is read.
    seen: Option<Form>,
}

impl Reader {
    fn file(&mut self, path: &Path, list: &List, problems: &mut Problems) {
        let mut account = Account::new(path, problems);
        let text = match content(path) {
            Ok(text) => text,
            Err(error) => return account.broken(format!("cannot be read: {error}")),
        };
        let form = list.config.form;
        let of_json = matches!(form, Form::Stix | Form::Misp | Form::WarningList);
        if of_json || (form == Form::Auto && is_json(&text)) {
            self.json(&text, list, &mut account);
        } else {
            self.text(&text, list, &mut account);
        }
        account.close();
    }

    fn text(&mut self, text: &str, list: &List, account: &mut Account) {
        let csv = match list.config.form {
            Form::Lines => None,
            _ => text::header(text, &list.config.columns),
        };
        let Some(csv) = csv else {
            if list.config.form == Form::Csv || !list.config.columns.named().is_empty() {
                return account.broken(
                    "no line names a column of indicators; say which it is with `columns = { indicator = \"…\" }`",
                );
            }
            for (number, line) in text.lines().enumerate() {
                let Some(value) = text::plain(line) else {
                    continue;
                };
                match self.value(list, value, None, None, None, (i64::MIN, i64::MAX)) {
                    Ok(()) => account.used(),
                    Err(reason) => account.skip(number + 1, &reason),
                }
            }
            return;
        };
        let each = |line: &list::Line| {
            let said = text::said(line)?;
            let labels = line.get("labels").unwrap_or_default();
            let labels = labels.split([',', ';', '|']).map(str::trim);
            let origin = Origin {
                source: line
                    .get("source")
                    .map_or_else(|| list.source.clone(), Arc::from),
                labels: array(labels),
            };
            let value = line.get("indicator").unwrap_or_default();
            let values = match (line.get("to_ids"), line.get("type")) {
                (Some(_), Some(kind)) => misp::values(&kind.to_ascii_lowercase(), value)
                    .ok_or(Refused::Unused("type_not_matched"))?
                    .into_iter()
                    .map(|(kind, value)| (Some(kind), value))
                    .collect(),
                _ => vec![(said.kind, value)],
            };
            let origin = Some(&origin);
            for (kind, value) in values {
                self.value(list, value, kind, origin, said.confidence, said.valid)?;
            }
            Ok(())
        };
        list::read(
            csv.body,
            csv.before,
            csv.delimiter,
            &csv.header,
            "indicator",
            account,
            each,
        );
    }

    /// An indicator, or an exclusion if the list is one of those.
    fn value(
        &mut self,
        list: &List,
        text: &str,
        kind: Option<Kind>,
        origin: Option<&Origin>,
        confidence: Option<u8>,
        valid: (i64, i64),
    ) -> Result<(), String> {
        if list.config.exclude {
            return self.exclusions.add(text, How::Usual, ALL);
        }
        let own;
        let origin = match origin {
            Some(origin) => origin,
            None => {
                own = Origin {
                    source: list.source.clone(),
                    labels: None,
                };
                &own
            }
        };
        let confidence = confidence.or(list.config.confidence);
        let (usual, key) = value::read(text, kind)?;
        let confidence = confidence.unwrap_or(DEFAULT_CONFIDENCE);
        self.indicators
            .push(&usual, key.kind(), origin, confidence, valid)
    }

    fn json(&mut self, text: &str, list: &List, account: &mut Account) {
        self.seen = None;
        let read = json::read(text, &mut |part| match part {
            Part::Item(Value::String(text)) => {
                self.seen.get_or_insert(Form::Lines);
                match self.value(list, &text, None, None, None, (i64::MIN, i64::MAX)) {
                    Ok(()) => account.used(),
                    Err(reason) => account.skip(&text, &reason),
                }
            }
            Part::Item(item) => self.item(&item, list, account),
            Part::Rest(rest) => self.item(&Value::Object(rest), list, account),
        });
        if let Err(error) = read {
            return account.broken(format!("is not valid JSON: {error}"));
        }
        let wanted = list.config.form;
        if self.seen.is_none() || (wanted != Form::Auto && self.seen != Some(wanted)) {
            account.broken(
                "is JSON, but not what is wanted: a STIX bundle, a MISP event or feed, or a MISP warning list",
            );
        }
    }

    /// An object of a document, or of a bundle or envelope within it.
    fn item(&mut self, item: &Value, list: &List, account: &mut Account) {
        self.nested(item, list, account, ENVELOPES);
    }

    fn nested(&mut self, item: &Value, list: &List, account: &mut Account, depth: usize) {
        let kind = item.get("type").and_then(Value::as_str);
        let inner = json::LISTS.iter().find_map(|name| item.get(name));
        if let Some(inner) = inner.filter(|inner| inner.is_array() || inner.is_object()) {
            let Some(depth) = depth.checked_sub(1) else {
                return account.unused("nested_too_deep");
            };
            match inner.as_array() {
                Some(items) => items
                    .iter()
                    .for_each(|item| self.nested(item, list, account, depth)),
                None => self.nested(inner, list, account, depth),
            }
            if kind.is_some() {
                self.seen.get_or_insert(Form::Stix);
            }
        } else if let Some(event) = item.get("Event").filter(|_| item.get("value").is_none()) {
            self.seen = Some(Form::Misp);
            self.misp(event, list, account);
        } else if item.get("Attribute").is_some_and(Value::is_array) {
            self.seen = Some(Form::Misp);
            self.misp(item, list, account);
        } else if let Some(entries) = item.get("list").and_then(Value::as_array) {
            self.seen = Some(Form::WarningList);
            self.warning_list(item, entries, account);
        } else if kind == Some("indicator") && item.get("pattern").is_some() {
            self.seen = Some(Form::Stix);
            self.stix(item, list, account);
        } else if kind.is_some() && (item.get("id").is_some() || self.seen == Some(Form::Stix)) {
            // Other objects of a bundle, and the bundle itself.
            self.seen = Some(Form::Stix);
        } else if item.get("more").is_some() || item.as_object().is_some_and(Map::is_empty) {
            // What is left of an envelope.
        }
    }

    fn stix(&mut self, object: &Value, list: &List, account: &mut Account) {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let time = |name: &str| text(name).and_then(text::time);
        // One without an id has no other versions.
        let own = object.to_string();
        let id = text("id").filter(|id| !id.is_empty()).unwrap_or(&own);
        let revoked = object.get("revoked") == Some(&Value::Bool(true));
        let is_stix = matches!(text("pattern_type"), None | Some("stix"));
        let mut values = vec![];
        if revoked {
            account.unused("revoked");
        } else if !is_stix {
            account.unused("pattern_not_read");
        } else if let Some(read) = stix::pattern(text("pattern").unwrap_or_default()) {
            for reason in read.unused {
                account.unused(reason);
            }
            for (kind, value) in read.values {
                match value::read(&value, Some(kind)) {
                    Ok(_) => values.push((kind, value)),
                    Err(reason) => account.skip(id, &reason),
                }
            }
        } else {
            account.unused("pattern_not_read");
        }
        account.used();
        let confidence = object.get("confidence").and_then(Value::as_u64);
        let confidence = confidence
            .and_then(|c| u8::try_from(c).ok())
            .filter(|c| *c <= 100);
        let version = Version {
            modified: time("modified").or(time("created")).unwrap_or(i64::MIN),
            values,
            origin: Origin {
                source: list.source.clone(),
                labels: array(stix::labels(object).into_iter()),
            },
            confidence: confidence
                .or(list.config.confidence)
                .unwrap_or(DEFAULT_CONFIDENCE),
            valid: (
                time("valid_from").unwrap_or(i64::MIN),
                time("valid_until").unwrap_or(i64::MAX),
            ),
        };
        if list.config.exclude {
            for (_, value) in version.values {
                let _ = self.exclusions.add(&value, How::Usual, ALL);
            }
            return;
        }
        let known = self.stix.get(id);
        if known.is_none_or(|known| known.modified <= version.modified) {
            self.stix.insert(id.to_owned(), version);
        }
    }

    /// The newest versions become indicators, in the order of their ids.
    fn flush_stix(&mut self) {
        let mut versions: Vec<(String, Version)> = self.stix.drain().collect();
        versions.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, version) in versions {
            for (kind, value) in &version.values {
                if let Ok((usual, key)) = value::read(value, Some(*kind)) {
                    // Checked when it was read; only a full index refuses it.
                    let _ = self.indicators.push(
                        &usual,
                        key.kind(),
                        &version.origin,
                        version.confidence,
                        version.valid,
                    );
                }
            }
        }
    }

    fn misp(&mut self, event: &Value, list: &List, account: &mut Account) {
        misp::attributes(event, &mut |attribute| match attribute {
            Err("invalid") => account.skip("Attribute", "it has no type or no value"),
            Err(reason) => account.unused(reason),
            Ok(attribute) => {
                let origin = Origin {
                    source: list.source.clone(),
                    labels: array(attribute.labels.iter().copied()),
                };
                let from = attribute.first_seen.and_then(text::time);
                let valid = (from.unwrap_or(i64::MIN), i64::MAX);
                for (kind, value) in attribute.values {
                    match self.value(list, value, Some(kind), Some(&origin), None, valid) {
                        Ok(()) => account.used(),
                        Err(reason) => account.skip("Attribute", &reason),
                    }
                }
            }
        });
    }

    fn warning_list(&mut self, list: &Value, entries: &[Value], account: &mut Account) {
        let Some(how) = misp::how(list) else {
            account.warn("is a warning list of regular expressions, which are not read");
            entries
                .iter()
                .for_each(|_| account.unused("regular_expression"));
            return;
        };
        let kinds = misp::kinds(list);
        for entry in entries {
            let text = entry.as_str().unwrap_or_default();
            match self.exclusions.add(text, how, kinds) {
                Ok(()) => account.used(),
                Err(reason) => account.skip("list", &reason),
            }
        }
    }
}

/// A JSON array of the texts that are not empty; none without any.
fn array<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Arc<str>> {
    let texts: Vec<Cow<str>> = texts.filter(|t| !t.is_empty()).map(Cow::from).collect();
    if texts.is_empty() {
        return None;
    }
    serde_json::to_string(&texts).ok().map(Arc::from)
}
