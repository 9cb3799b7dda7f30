//! Families of samples in Prometheus' text format.

use std::fmt::Write as _;

pub type Labels<'a> = Vec<(&'static str, &'a str)>;

#[derive(Default)]
pub struct Text {
    out: String,
}

impl Text {
    pub fn out(self) -> String {
        self.out
    }

    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "# HELP {name} {help}");
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        for (labels, value) in samples {
            self.out.push_str(name);
            for (index, (label, text)) in labels.iter().enumerate() {
                let separator = if index == 0 { '{' } else { ',' };
                let _ = write!(self.out, "{separator}{label}=\"");
                escape(&mut self.out, text);
                self.out.push('"');
            }
            if !labels.is_empty() {
                self.out.push('}');
            }
            let _ = writeln!(self.out, " {value}");
        }
    }
    pub fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        self.family(name, "counter", help, samples);
    }
    pub fn gauge<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        self.family(name, "gauge", help, samples);
    }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

/// A sample without labels.
pub fn one(value: f64) -> [(Labels<'static>, f64); 1] {
    [(vec![], value)]
}
