//! What a group of alerts is as an incident, kept up to date as alerts join and leave: what that costs does not depend on how
//! many they are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::identity_kind;
use crate::alert::{Alert, Entity};
use crate::incident::IncidentHead;
use crate::rule::{Level, TACTICS};

/// Where an alert stands in its group: its first time, and its id.
pub(crate) type Place = (i64, Arc<str>);

/// Entities in order: those shared by most alerts first.
type Ranks = BTreeSet<(Reverse<u32>, Arc<Entity>)>;

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Few, as alerts of a rule differ in little of this.
    kinds: Vec<(Kind, BTreeSet<Place>)>,
    /// Last time → alerts.
    last_times: BTreeMap<i64, u32>,
    counts: BTreeMap<Arc<Entity>, u32>,
    identities: Ranks,
    others: Ranks,
}

/// What alerts have in common whose place is kept together.
#[derive(Debug)]
struct Kind {
    rule_id: String,
    level: Level,
    risk_score: u32,
    tactics: Vec<String>,
    techniques: Vec<String>,
}

impl Kind {
    fn is_of(&self, alert: &Alert) -> bool {
        self.risk_score == alert.risk_score
            && self.level == alert.level
            && self.rule_id == alert.rule_id
            && self.tactics == alert.tactics
            && self.techniques == alert.techniques
    }
}

impl Tally {
    pub fn add(&mut self, id: &Arc<str>, alert: &Alert) {
        let place = (alert.first_time, id.clone());
        match self.kinds.iter_mut().find(|(kind, _)| kind.is_of(alert)) {
            Some((_, places)) => drop(places.insert(place)),
            None => {
                let kind = Kind {
                    rule_id: alert.rule_id.clone(),
                    level: alert.level,
                    risk_score: alert.risk_score,
                    tactics: alert.tactics.clone(),
                    techniques: alert.techniques.clone(),
                };
                self.kinds.push((kind, BTreeSet::from([place])));
            }
        }
        *self.last_times.entry(alert.last_time).or_default() += 1;
        for entity in &alert.entities {
            self.count(entity, true);
        }
    }

    pub fn remove(&mut self, id: &Arc<str>, alert: &Alert) {
        let place = (alert.first_time, id.clone());
        if let Some(at) = self.kinds.iter().position(|(kind, _)| kind.is_of(alert)) {
            let places = &mut self.kinds[at].1;
            places.remove(&place);
            if places.is_empty() {
                self.kinds.swap_remove(at);
            }
        }
        if let Some(alerts) = self.last_times.get_mut(&alert.last_time) {
            *alerts -= 1;
            if *alerts == 0 {
                self.last_times.remove(&alert.last_time);
            }
        }
        for entity in &alert.entities {
            self.count(entity, false);
        }
    }

    /// One alert more or less has the entity.
    fn count(&mut self, entity: &Entity, is_more: bool) {
        let known = self.counts.remove_entry(entity);
        let (entity, before) = known.unwrap_or_else(|| (Arc::new(entity.clone()), 0));
        let ranks = match identity_kind(&entity.kind) {
            true => &mut self.identities,
            false => &mut self.others,
        };
        if before > 0 {
            ranks.remove(&(Reverse(before), entity.clone()));
        }
        let after = match is_more {
            true => before + 1,
            false => before.saturating_sub(1),
        };
        if after > 0 {
            ranks.insert((Reverse(after), entity.clone()));
            self.counts.insert(entity, after);
        }
    }

    /// How many of the alerts have the entity.
    pub fn count_of(&self, entity: &Entity) -> u32 {
        self.counts.get(entity).copied().unwrap_or_default()
    }

    /// All entities, those shared by most alerts first.
    pub fn entities(&self) -> Vec<(Entity, u32)> {
        let all = self.identities.iter().chain(&self.others);
        let mut all: Vec<_> = all.collect();
        all.sort();
        let all = all.into_iter();
        all.map(|(Reverse(alerts), entity)| (Entity::clone(entity), *alerts))
            .collect()
    }

    /// The incident, whose earliest alert is `first`; `title_of` gives an alert's title.
    pub fn head<'a>(
        &self,
        first: &Place,
        title_of: impl Fn(&Place) -> Option<&'a str>,
    ) -> IncidentHead {
        let mut kinds: Vec<(&Place, &Kind)> = self
            .kinds
            .iter()
            .filter_map(|(kind, places)| Some((places.first()?, kind)))
            .collect();
        kinds.sort_by_key(|(first, _)| *first);
        let (mut tactics, mut techniques, mut rule_ids) = (vec![], vec![], vec![]);
        for (_, kind) in &kinds {
            add_new(&mut tactics, &kind.tactics);
            add_new(&mut techniques, &kind.techniques);
            add_new(&mut rule_ids, std::slice::from_ref(&kind.rule_id));
        }
        let highest = kinds.iter().map(|(_, kind)| kind.level).max();
        // Several tactics in one chain are worse than their worst step.
        let level = match (highest.unwrap_or(Level::Informational), tactics.len()) {
            (Level::High, 4..) => Level::Critical,
            (Level::Medium, 3..) => Level::High,
            (level, _) => level,
        };
        let what = self.worst().and_then(|worst| title_of(&worst));
        IncidentHead {
            incident_id: format!("inc_{}", first.1),
            title: self.title(what.unwrap_or_default(), tactics.len()),
            level,
            risk_score: self.risk(tactics.len()),
            first_time: first.0,
            last_time: self
                .last_times
                .keys()
                .next_back()
                .copied()
                .unwrap_or(first.0),
            tactics,
            techniques,
            rule_ids,
            open: true,
        }
    }

    fn alerts(&self) -> usize {
        self.kinds.iter().map(|(_, places)| places.len()).sum()
    }

    /// The earliest of the alerts of the highest level and risk; of several at one time that of the last id.
    fn worst(&self) -> Option<Place> {
        let of_kind = |(kind, places): &(Kind, BTreeSet<Place>)| {
            let time = places.first()?.0;
            let after: Place = (time.saturating_add(1), "".into());
            let place = places.range(..after).next_back()?;
            let rank = (kind.level, kind.risk_score, Reverse(time));
            Some((rank, place.clone()))
        };
        let kinds = self.kinds.iter().filter_map(of_kind);
        kinds.max().map(|(_, place)| place)
    }

    /// Weighted levels × spread over tactics, 0 to 100. Repeats of one rule add little.
    fn risk(&self, tactics: usize) -> u32 {
        let mut by_rule: BTreeMap<&str, (u32, usize)> = BTreeMap::new();
        for (kind, places) in &self.kinds {
            let (score, alerts) = by_rule.entry(&kind.rule_id).or_default();
            *score = kind.risk_score.max(*score);
            *alerts += places.len();
        }
        let sum: f64 = by_rule
            .into_values()
            .map(|(score, alerts)| {
                let repeats = (alerts as f64).ln() * 0.1 + 1.0;
                f64::from(score) * repeats
            })
            .sum();
        let spread = 1.0 + 0.15 * tactics.saturating_sub(1).min(TACTICS.len()) as f64;
        // 100 is approached, never passed: 100·(1 − e^(−x/100)).
        (100.0 * (1.0 - (-(sum * spread) / 100.0).exp())).round() as u32
    }

    /// One line: what happened, and to whom.
    fn title(&self, what: &str, tactics: usize) -> String {
        let who = self.identities.first().or(self.others.first());
        let who = who
            .map(|(_, entity)| format!(" by {} {}", entity.kind, entity.value))
            .unwrap_or_default();
        match self.alerts() {
            1 => format!("{what}{who}"),
            alerts => format!(
                "{what} and {} over {}{who}",
                count(alerts - 1, "more alert"),
                count(tactics, "tactic")
            ),
        }
    }
}

fn add_new(all: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

fn count(number: usize, of: &str) -> String {
    match number {
        1 => format!("1 {of}"),
        more => format!("{more} {of}s"),
    }
}
