//! Reasons as a sentence for people.

use weir_engine::score::Reason;

use crate::spec::{Feature, FeatureSpec, Kind};

/// Reasons named in the sentence, at most.
const NAMED: usize = 3;
/// Smallest share of the score that is worth naming.
const WORTH_NAMING: f64 = 0.1;

/// `calls 5,210 (usually 40), never-seen operations 12 (usually 0)`: the causes that differ visibly from
/// the usual, largest first; at least one.
pub fn sentence(spec: &FeatureSpec, reasons: &[Reason]) -> String {
    let parts: Vec<(String, bool)> = reasons
        .iter()
        .filter_map(|reason| {
            let feature = spec.features.iter().find(|f| f.column == reason.feature)?;
            let (value, usual) = (number(feature, reason.value), number(feature, reason.usual));
            let named = reason.share >= WORTH_NAMING && value != usual;
            Some((
                format!("{} {value} (usually {usual})", feature.label),
                named,
            ))
        })
        .collect();
    let named: Vec<&str> = parts
        .iter()
        .filter(|(_, named)| *named)
        .map(|(text, _)| text.as_str())
        .take(NAMED)
        .collect();
    match (named.is_empty(), parts.first()) {
        (true, Some((text, _))) => text.clone(),
        _ => named.join(", "),
    }
}

fn number(feature: &Feature, value: f64) -> String {
    match feature.kind {
        Kind::Count => thousands(value.round().max(0.0) as u64),
        Kind::Ratio | Kind::Balance => format!("{:.0}%", value * 100.0),
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::CLOUDTRAIL_IDENTITY_HOUR as SPEC;

    fn reason(feature: &str, value: f64, usual: f64, share: f64) -> Reason {
        Reason {
            feature: feature.into(),
            value,
            usual,
            share,
        }
    }

    #[test]
    fn a_sentence_names_the_causes_and_leaves_out_what_is_usual() {
        let reasons = [
            reason("calls", 5210.0, 40.3, 0.6),
            reason("services", 3.0, 3.1, 0.2),
            reason("error_ratio", 0.85, 0.02, 0.15),
            reason("regions", 9.0, 1.0, 0.05),
        ];
        assert_eq!(
            sentence(&SPEC, &reasons),
            "calls 5,210 (usually 40), calls refused or failed 85% (usually 2%)"
        );
        assert_eq!(sentence(&SPEC, &reasons[1..2]), "services 3 (usually 3)");
    }

    #[test]
    fn thousands_are_separated() {
        let text = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(text, ["0", "999", "1,000", "1,234,567"]);
    }
}
