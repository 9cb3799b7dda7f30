//! Which rules a backtest runs.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use weir_engine::Rule;
use weir_engine::detect::ModelRule;

use crate::commands::rule::load;
use crate::config::Config;
use crate::node;

/// Rules of one set, each id once.
#[derive(Default)]
pub struct Selected {
    pub rules: Vec<Rule>,
    pub models: Vec<ModelRule>,
    pub warnings: Vec<String>,
}

/// The one rule of a file.
pub fn file(path: &Path) -> anyhow::Result<Selected> {
    ensure!(
        path.is_file(),
        "--diff: {}: no such rule file",
        path.display()
    );
    let rules = load(path)?.into_iter().map(|loaded| loaded.rule).collect();
    Ok(Selected {
        rules,
        ..Selected::default()
    })
}

/// Rules by id, title, file or folder, in the order asked for; without any, everything configured. A rule that is
/// configured but disabled can be named.
pub fn select(config: &Config, wanted: &[String]) -> anyhow::Result<Selected> {
    let (models, warnings) = node::load_models(&config.models.path);
    if wanted.is_empty() {
        let rules = node::load_rules(config)?.into_iter();
        return Ok(Selected {
            rules: rules.map(|loaded| loaded.rule).collect(),
            models,
            warnings,
        });
    }
    let mut all = config.clone();
    all.rules.disabled.clear();
    let mut configured = None;
    let mut selected = Selected::default();
    for name in wanted {
        let path = Path::new(name);
        if path.exists() {
            let loaded = load(path)?.into_iter().map(|loaded| loaded.rule);
            selected.rules.extend(loaded);
            continue;
        }
        ensure!(
            !looks_like_a_path(name),
            "{name}: no such rule file or folder"
        );
        let configured = match &mut configured {
            Some(rules) => rules,
            None => {
                let rules = node::load_rules(&all).context("the configured rules")?;
                configured.insert(rules)
            }
        };
        let hit = |rule: &Rule| rule.id == *name || rule.title.eq_ignore_ascii_case(name);
        let rule = configured.iter().find(|loaded| hit(&loaded.rule));
        let model = models.iter().find(|model| hit(&model.rule));
        match (rule, model) {
            (Some(loaded), _) => selected.rules.push(loaded.rule.clone()),
            (None, Some(model)) => selected.models.push(model.clone()),
            (None, None) => {
                let rules = configured.iter().map(|loaded| &loaded.rule);
                bail!(unknown(name, rules.chain(models.iter().map(|m| &m.rule))))
            }
        }
    }
    once_each(&mut selected)?;
    Ok(selected)
}

fn looks_like_a_path(name: &str) -> bool {
    name.ends_with(".yml") || name.ends_with(".yaml") || name.starts_with(['.', '/'])
}

/// A rule named twice runs once; two rules with one id cannot run side by side.
fn once_each(selected: &mut Selected) -> anyhow::Result<()> {
    let mut rules: Vec<Rule> = vec![];
    for rule in std::mem::take(&mut selected.rules) {
        match rules.iter().find(|one| one.id == rule.id) {
            None => rules.push(rule),
            Some(one) if *one == rule => {}
            Some(one) => bail!(
                "rule id {} is used twice: {} and {}; `weir backtest --diff OLD NEW` compares two versions",
                rule.id,
                one.path,
                rule.path
            ),
        }
    }
    selected.rules = rules;
    let mut ids = HashSet::new();
    let models = &mut selected.models;
    models.retain(|model| ids.insert(model.rule.id.clone()));
    Ok(())
}

fn unknown<'a>(name: &str, rules: impl Iterator<Item = &'a Rule>) -> String {
    let mut near: Vec<(f64, &Rule)> = rules
        .map(|rule| (likeness(name, &rule.title), rule))
        .filter(|(likeness, _)| *likeness > 0.2)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.title.cmp(&b.1.title)));
    let near = near.iter().take(3);
    let near: String = near
        .map(|(_, rule)| format!("\n  {}  {}", rule.id, rule.title))
        .collect();
    let nearest = if near.is_empty() {
        String::new()
    } else {
        format!("; nearest are{near}")
    };
    format!("no rule has the id, title or file `{name}`; `weir rule list` shows them{nearest}")
}

/// Part of the letter triples that two texts share, 0 to 1.
fn likeness(a: &str, b: &str) -> f64 {
    let (a, b) = (triples(a), triples(b));
    let shared = a.intersection(&b).count();
    2.0 * shared as f64 / (a.len() + b.len()).max(1) as f64
}

fn triples(text: &str) -> HashSet<[char; 3]> {
    let text = format!("  {} ", text.to_lowercase());
    let letters: Vec<char> = text.chars().collect();
    letters.windows(3).map(|w| [w[0], w[1], w[2]]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::load(None).unwrap()
    }

    #[test]
    fn rules_are_found_by_id_title_and_path() {
        let all = select(&config(), &[]).unwrap().rules;
        assert!(all.len() > 10);
        let by = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            select(&config(), &names)
        };
        let found = by(&[&all[0].id, &all[1].title.to_uppercase(), &all[0].title]).unwrap();
        let ids: Vec<&String> = found.rules.iter().map(|rule| &rule.id).collect();
        assert_eq!(ids, [&all[0].id, &all[1].id]);
        let packs = concat!(env!("CARGO_MANIFEST_DIR"), "/detections/packs");
        assert_eq!(by(&[packs]).unwrap().rules.len(), all.len());
    }

    #[test]
    fn what_is_unknown_is_named_with_the_nearest() {
        let all = select(&config(), &[]).unwrap().rules;
        let title = &all[3].title;
        let typo = title.replacen(' ', "", 1);
        let error = select(&config(), std::slice::from_ref(&typo))
            .err()
            .unwrap();
        let error = error.to_string();
        assert!(error.contains(&typo) && error.contains(title), "{error}");
        let error = select(&config(), &["./nowhere.yml".into()]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "./nowhere.yml: no such rule file or folder"
        );
    }
}
