//! Rule files of Weir: format, loader, linter and test runner.
//!
//! A rule is one YAML file ([`format`]) with its tests beside it. [`load_dir`] reads a folder of them,
//! [`embedded`] the packs in the binary, [`lint`] says what reviewers would, and [`run_case`] runs a rule's
//! tests. This crate never decodes a vendor's log and never runs a query: the binary hands both in.
//!
//! Invariant: what a rule file says is either in the [`LoadedRule`] or refused by name, with file and line.

mod case;
mod embed;
mod enrich;
mod error;
mod format;
mod lint;
mod load;
mod outputs;

pub use case::{Case, CaseResult, CaseTable, run_case};
pub use embed::embedded;
pub use enrich::Enrichment;
pub use error::{Error, Result};
pub use lint::{COMPLIANCE, ENTITY_KINDS, Lint, Severity, lint};
pub use load::{LoadedRule, load_dir, load_file};
pub use outputs::reads_alerts;
pub use weir_engine::time::parse_duration;
