//! What a decoder has to know about its source.

use std::ops::Range;
use std::sync::Arc;

use crate::format::{Format, vpc_flow};
use crate::json::Scanner;
use crate::mapping::custom::CustomMapping;
use crate::mapping::{Column, Compiled};

/// Which log format a source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// Decided by the content of each record.
    #[default]
    Auto,
    CloudTrail,
    K8sAudit,
    Falco,
    /// All formats of a vendor: see [`Format::source`].
    Named(&'static str),
    /// The mapping of the configuration.
    Custom,
}

impl FormatChoice {
    /// The choice of this name in the configuration.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "cloudtrail" => Some(Self::CloudTrail),
            "k8s_audit" => Some(Self::K8sAudit),
            "falco" => Some(Self::Falco),
            "mapped" => Some(Self::Custom),
            name => Format::all()
                .map(Format::source)
                .find(|source| *source == name)
                .map(Self::Named),
        }
    }

    /// The name of every choice.
    pub fn names() -> Vec<&'static str> {
        let mut names = vec!["auto"];
        for name in Format::all().chain([Format::CUSTOM]).map(Format::source) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The formats that records may have.
    pub(crate) fn formats(self) -> Vec<Format> {
        match self {
            Self::Auto => Format::all().collect(),
            Self::CloudTrail => Format::all()
                .filter(|one| one.source() == "cloudtrail")
                .collect(),
            Self::K8sAudit => vec![Format::K8S_AUDIT],
            Self::Falco => vec![Format::FALCO],
            Self::Named(name) => Format::all().filter(|one| one.source() == name).collect(),
            Self::Custom => vec![Format::CUSTOM],
        }
    }
}

/// What a decoder has to know about its source.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    pub format: FormatChoice,
    /// For [`FormatChoice::Custom`].
    pub mapping: Option<CustomMapping>,
    /// Columns of flow logs without a header line, in order, with blanks between.
    pub columns: Option<Arc<str>>,
    /// Name of the configured source; becomes `metadata_log_name`.
    pub log_name: Arc<str>,
    /// Kubernetes cluster of the source: audit events do not name it.
    pub cluster: Option<Arc<str>>,
    /// Longest `raw`: of a longer event the row has all its columns, but only so much of its text.
    pub max_record_bytes: usize,
    /// Most bytes that compressed data may become.
    pub max_envelope_bytes: usize,
    /// Whether the header of a flow log holds for the records behind its own as well: they are the lines of one file.
    pub headers_last: bool,
    /// Nesting up to which an event's text is kept, its envelope included.
    pub max_depth: usize,
}

impl DecoderConfig {
    /// Detects the format; the text of an event is kept up to 1 MiB and 64 levels, an envelope may have 64 MiB.
    pub fn new(log_name: impl Into<Arc<str>>) -> Self {
        Self {
            format: FormatChoice::Auto,
            mapping: None,
            columns: None,
            log_name: log_name.into(),
            cluster: None,
            max_record_bytes: 1 << 20,
            max_envelope_bytes: 64 << 20,
            max_depth: 64,
            headers_last: true,
        }
    }

    /// The part of an event that becomes `raw`: up to its limits of size and depth.
    pub(crate) fn kept(&self, s: &Scanner, raw: Range<usize>) -> Range<usize> {
        let mut end = raw.end.min(raw.start + self.max_record_bytes);
        if s.too_deep() >= raw.start {
            end = end.min(s.too_deep());
        }
        if end < raw.end {
            let is_inside_character =
                |at: usize| s.bytes().get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
            while end > raw.start && is_inside_character(end) {
                end -= 1;
            }
        }
        raw.start..end
    }

    pub(crate) fn custom(&self) -> Option<&Compiled> {
        self.mapping.as_ref().map(CustomMapping::tree)
    }
}

/// Whether the text names the columns of a flow log, a time and an address among them.
pub fn are_flow_fields(names: &str) -> bool {
    vpc_flow::are_fields(names)
}

pub(super) fn configured_columns(names: &str) -> Option<Arc<[Column]>> {
    let tree = Format::of(&vpc_flow::FLOW).tree(None)?;
    vpc_flow::header(names.as_bytes(), tree).map(Into::into)
}
