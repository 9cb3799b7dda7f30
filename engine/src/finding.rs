//! Findings of other products, passed through as alerts: the alert takes its title, level and tactics from the
//! finding, and an update of the finding is an update of its alert.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rule::{Level, TACTICS};

/// Output columns that an alert takes from the finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Text: the alert's title.
    pub title: String,
    /// OCSF severity, 1 informational to 6 fatal: the alert's level.
    pub severity: String,
    /// Each a JSON array of texts, or texts between commas; ATT&CK tactics and techniques among them become the
    /// alert's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Finding {
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        [&self.title, &self.severity].into_iter().chain(&self.tags)
    }

    pub fn title_of<'a>(&self, row: &'a Map<String, Value>) -> Option<&'a str> {
        row.get(&self.title)?.as_str()
    }

    /// None where the finding states no severity.
    pub fn level_of(&self, row: &Map<String, Value>) -> Option<Level> {
        match row.get(&self.severity)?.as_i64()? {
            1 => Some(Level::Informational),
            2 => Some(Level::Low),
            3 => Some(Level::Medium),
            4 => Some(Level::High),
            5 | 6 => Some(Level::Critical),
            _ => None,
        }
    }

    /// Tactics and techniques, as [`Rule::tactics`](crate::Rule::tactics) writes them.
    pub fn attack_of(&self, row: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
        let columns = self.tags.iter().filter_map(|name| row.get(name));
        let tags: Vec<String> = columns.flat_map(texts).collect();
        (
            tags.iter().filter_map(|tag| tactic(tag)).collect(),
            tags.iter().filter_map(|tag| technique(tag)).collect(),
        )
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = match value {
        Value::Array(list) => list.clone(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(list)) => list,
            _ => return text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        },
        _ => vec![],
    };
    let texts = list.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// `CredentialAccess`, `mitre_credential_access` and `Credential Access` are one.
fn tactic(tag: &str) -> Option<String> {
    let tag = tag.strip_prefix("mitre_").unwrap_or(tag);
    let tag = tag.strip_prefix("attack.").unwrap_or(tag);
    let mut name = String::new();
    for (at, letter) in tag.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 && !name.ends_with('-') {
            name.push('-');
        }
        match letter {
            '_' | ' ' | '-' if name.ends_with('-') => {}
            '_' | ' ' => name.push('-'),
            other => name.push(other.to_ascii_lowercase()),
        }
    }
    // Vendors write "Command And Control", Sigma "defense" with an s.
    let name = name.replace("defence", "defense");
    TACTICS.contains(&name.as_str()).then_some(name)
}

/// `T1059` or `T1059.004`, also behind a prefix such as `attack.`.
fn technique(tag: &str) -> Option<String> {
    let tag = tag.rsplit_once("attack.").map_or(tag, |(_, id)| id);
    let digits = tag.strip_prefix(['T', 't'])?;
    let (id, sub) = match digits.split_once('.') {
        Some((id, sub)) => (id, Some(sub)),
        None => (digits, None),
    };
    let is = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    (is(id, 4) && sub.is_none_or(|sub| is(sub, 3))).then(|| format!("T{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_all_vendors_name_the_same_tactics() {
        for tag in [
            "CredentialAccess",
            "mitre_credential_access",
            "Credential Access",
            "attack.credential_access",
            "credential-access",
        ] {
            assert_eq!(tactic(tag).as_deref(), Some("credential-access"), "{tag}");
        }
        assert_eq!(tactic("DefenceEvasion").as_deref(), Some("defense-evasion"));
        assert_eq!(tactic("container"), None);
    }

    #[test]
    fn techniques_are_told_from_other_words() {
        assert_eq!(technique("T1059").as_deref(), Some("T1059"));
        assert_eq!(technique("attack.t1059.004").as_deref(), Some("T1059.004"));
        for tag in ["T10", "TTP", "T1059.4", "Tor1234", ""] {
            assert_eq!(technique(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_finding_without_a_severity_leaves_the_level_to_the_rule() {
        let finding = Finding {
            title: "title".into(),
            severity: "severity_id".into(),
            tags: vec!["tags".into(), "more".into()],
        };
        let row = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
        let full =
            row(r#"{"severity_id":4,"tags":"[\"T1110\",\"Impact\",7]","more":"Execution, x"}"#);
        assert_eq!(finding.level_of(&full), Some(Level::High));
        assert_eq!(
            finding.attack_of(&full),
            (
                vec!["impact".into(), "execution".into()],
                vec!["T1110".into()]
            )
        );
        assert_eq!(finding.level_of(&row(r#"{"severity_id":0}"#)), None);
        assert_eq!(finding.level_of(&row("{}")), None);
        assert_eq!(finding.attack_of(&row(r#"{"tags":"x"}"#)), (vec![], vec![]));
    }
}
