//! The formats, and what is known of each without reading an event.

use std::sync::LazyLock;

use super::{
    Decoded, Reject, Row, Stop, aside, azure, azure_flow, cloudtrail, defender, entra, envoy,
    falco, gatekeeper, gcp, gcp_flow, github, graph, guardduty, hunting, k8s_audit, log_analytics,
    ocsf, okta, prisma, tetragon, trivy, vpc_flow, ztunnel,
};
use crate::envelope::members::{MEMBERS, ONLY_ENVELOPES};
use crate::json::Scanner;
use crate::mapping::{
    Compiled, Found, Keys, Lines, LogFormat, Need, Path, Read, Rivals, Spelling, Step,
};

/// A log format, by its place in [`FORMATS`]; behind the last of them is the mapping of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format(u8);

/// Every format but that of the configuration. Of two that are complete at the same key of an object the first counts.
pub static FORMATS: &[&LogFormat] = &[
    &cloudtrail::EVENT,
    &k8s_audit::EVENT,
    &falco::ALERT,
    &guardduty::FINDING,
    &guardduty::SECURITY_HUB,
    &gcp::AUDIT,
    &gcp_flow::FLOW,
    &entra::SIGN_IN,
    &entra::AUDIT,
    &entra::RISK,
    &entra::PROVISIONING,
    &entra::CALL,
    &graph::SIGN_IN,
    &graph::AUDIT,
    &azure_flow::NSG,
    &azure_flow::VNET,
    &azure_flow::TRAFFIC,
    &azure_flow::TUPLE,
    &azure::ACTIVITY,
    &defender::ALERT,
    &graph::ALERT,
    &hunting::EVENT,
    &hunting::ROW,
    &log_analytics::SIGN_IN,
    &log_analytics::AUDIT,
    &log_analytics::RESOURCE,
    &log_analytics::RISK,
    &log_analytics::CALL,
    &log_analytics::INCIDENT,
    &okta::LOG_EVENT,
    &github::AUDIT,
    &vpc_flow::FLOW,
    &envoy::ACCESS,
    &ztunnel::ACCESS,
    &tetragon::EXEC,
    &tetragon::EXIT,
    &tetragon::KPROBE,
    &tetragon::TRACEPOINT,
    &tetragon::LSM,
    &tetragon::CONNECT,
    &tetragon::CLOSE,
    &tetragon::LISTEN,
    &gatekeeper::VIOLATION,
    &gatekeeper::EXPORT,
    &prisma::ALERT,
    &prisma::INCIDENT,
    &trivy::REPORT,
    &trivy::CLUSTER,
    &trivy::OPERATOR,
    &trivy::CYCLONEDX,
    &ocsf::EVENT,
    &aside::INSIGHT,
    &aside::DIGEST,
    &aside::SPDX,
];

static TREES: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let trees: Result<Vec<_>, _> = FORMATS.iter().map(|one| Compiled::new(one)).collect();
    let rivals = |mut trees: Vec<Compiled>| {
        for format in Format::all() {
            add_rivals(format, &mut trees[format.index()])?;
        }
        Ok(trees)
    };
    trees
        .and_then(rivals)
        .expect("paths of built-in formats are tested")
});

/// No key at all.
static NO_KEYS: LazyLock<Keys> = LazyLock::new(Keys::default);

/// Keys whose object is no event but an envelope.
static ENVELOPES: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys::default();
    for key in envelopes() {
        keys.get_or_insert(key.as_bytes(), || 0);
    }
    keys
});

fn envelopes() -> impl Iterator<Item = &'static str> {
    let only = MEMBERS
        .iter()
        .filter(|(_, what)| what & ONLY_ENVELOPES != 0);
    only.map(|(key, _)| *key)
}

/// Formats with lines, their tables, and how the lines are read.
static LINES: LazyLock<Vec<(Format, &'static Compiled, Lines)>> = LazyLock::new(|| {
    let lines =
        Format::all().filter_map(|format| match (format.known()?.read, format.tree(None)) {
            (Read::Lines(lines), Some(tree)) => Some((format, tree, lines)),
            _ => None,
        });
    lines.collect()
});

impl Format {
    pub const CLOUDTRAIL: Self = Self(0);
    pub const K8S_AUDIT: Self = Self(1);
    pub const FALCO: Self = Self(2);
    /// The mapping of the configuration.
    pub const CUSTOM: Self = Self(FORMATS.len() as u8);

    /// How many there are, that of the configuration among them.
    pub(crate) const COUNT: usize = FORMATS.len() + 1;

    /// Every format but that of the configuration.
    pub fn all() -> impl Iterator<Item = Format> {
        (0..FORMATS.len()).map(|place| Self(place as u8))
    }

    /// The format of a description in [`FORMATS`].
    pub(crate) fn of(format: &LogFormat<'static>) -> Self {
        let place = FORMATS.iter().position(|one| std::ptr::eq(*one, format));
        place.map_or(Self::CUSTOM, |place| Self(place as u8))
    }

    /// Those with lines that are no JSON.
    pub(crate) fn with_lines() -> &'static [(Format, &'static Compiled, Lines)] {
        &LINES
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// Its description, if it is not that of the configuration.
    pub fn known(self) -> Option<&'static LogFormat<'static>> {
        FORMATS.get(self.index()).copied()
    }

    /// Its table.
    pub(crate) fn tree(self, custom: Option<&Compiled>) -> Option<&Compiled> {
        TREES.get(self.index()).or(custom)
    }

    /// The table, if an object of the format holds many events.
    pub(crate) fn report(self) -> Option<&'static Compiled> {
        TREES
            .get(self.index())
            .filter(|tree| !tree.inside.is_empty())
    }

    pub fn name(self) -> &'static str {
        self.known()
            .map_or("event of the configured mapping", |format| format.name)
    }

    /// What the configuration calls it; formats of one vendor share a name.
    pub fn source(self) -> &'static str {
        self.known().map_or("mapped", |format| format.source)
    }

    /// `family` and `metadata_product_name`.
    pub(crate) fn labels(self, custom: Option<&Compiled>) -> [&str; 2] {
        self.tree(custom)
            .map_or(["", ""], |tree| [&*tree.family, &*tree.product])
    }

    /// Paths by which it is recognised: all of any one line.
    pub(crate) fn needs(self) -> &'static [&'static [Need<'static>]] {
        self.known().map_or(&[], |format| format.needs)
    }

    pub(crate) fn spelling(self) -> Spelling {
        self.known()
            .map_or(Spelling::Exact, |format| format.spelling)
    }

    /// What makes an object this format.
    pub(crate) fn required(self, custom: Option<&Compiled>) -> &str {
        match self.known().map(|format| format.read) {
            Some(Read::Program(program)) => program.required,
            _ => self.tree(custom).map_or("", |tree| &tree.required),
        }
    }

    /// What an object has which the recognition could take for something else: an object without any of it, with all that
    /// the format needs, is of this format, so that it need not be looked at first.
    pub(crate) fn rivals(self) -> Rivals {
        match TREES.get(self.index()) {
            Some(tree) => Rivals {
                keys: &tree.rival_keys,
                lines: &tree.rival_lines,
            },
            None => Rivals {
                keys: &NO_KEYS,
                lines: &[],
            },
        }
    }

    /// What makes an object none of this format although it was recognised as such.
    pub(crate) fn refused(self) -> Rivals {
        let keys = match self.known().map(|format| format.read) {
            Some(Read::Program(_)) => &ENVELOPES,
            _ => &NO_KEYS,
        };
        Rivals { keys, lines: &[] }
    }

    pub(crate) fn decode(
        self,
        s: &mut Scanner,
        row: &mut Row,
        custom: Option<&Compiled>,
        found: &mut Found,
    ) -> Result<Decoded, Reject> {
        let decoded = match (self.known().map(|format| format.read), self.tree(custom)) {
            (Some(Read::Program(program)), _) => (program.decode)(s, row),
            (_, Some(tree)) => tree.decode(s, row, found),
            (_, None) => Ok(Decoded::NotThis),
        };
        match decoded {
            Err(Stop::NotThis) => Ok(Decoded::NotThis),
            decoded => decoded.map_err(Stop::reject),
        }
    }
}

/// Notes what could make an object of the format one of another format: of each of their lines of needs one key that this
/// one does not know, or the line, if it knows them all.
fn add_rivals(format: Format, tree: &mut Compiled) -> Result<(), String> {
    let mut rivals = Keys::default();
    for key in envelopes().filter(|key| !tree.keys().has(key.as_bytes())) {
        rivals.get_or_insert(key.as_bytes(), || 0);
    }
    let mut lines = vec![];
    for other in Format::all().filter(|other| *other != format) {
        for line in other.needs() {
            if excludes(format.needs(), line) {
                continue;
            }
            let roots = line.iter().filter_map(|(path, _)| root(path));
            let mut spellings = roots.map(|key| {
                let mut all = other.spelling().others(&key);
                all.push(key.into());
                all
            });
            let unknown = spellings.find(|keys| keys.iter().all(|key| !tree.keys().has(key)));
            match unknown {
                Some(keys) => keys.iter().for_each(|key| {
                    rivals.get_or_insert(key, || 0);
                }),
                None => lines.push(*line),
            }
        }
    }
    tree.rival_keys = rivals;
    for line in lines {
        let needed = tree.needed(line)?;
        tree.rival_lines.push(needed);
    }
    Ok(())
}

/// The top-level key of a path.
fn root(path: &str) -> Option<String> {
    match Path::parse(path).ok()?.0.into_iter().next() {
        Some(Step::Key(key)) => Some(key),
        _ => None,
    }
}

/// Whether no object can meet both one of the lines and `line`: a value would have to be two texts.
fn excludes(lines: &[&[Need]], line: &[Need]) -> bool {
    let contradicts = |one: &Need, other: &Need| {
        one.0 == other.0
            && !one.1.is_empty()
            && !other.1.is_empty()
            && one.1.iter().all(|text| !other.1.contains(text))
    };
    lines.iter().all(|mine| {
        mine.iter()
            .any(|one| line.iter().any(|other| contradicts(one, other)))
    })
}
