//! Paths to a value in JSON.

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Element(usize),
    Last,
}

/// Steps from the top of an object to one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(pub Vec<Step>);

impl Path {
    /// Reads `resource.labels.project_id`, `claims."http://example.org/upn"` (a key in double quotes is
    /// taken as it stands), `items[0].name` and `items[-1]` (the last). Says what is wrong with anything
    /// else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = vec![];
        let mut rest = text;
        let wrong = |what: &str| Err(format!("`{text}` is no path: {what}"));
        loop {
            if let Some(quoted) = rest.strip_prefix('"') {
                let Some((key, after)) = quoted.split_once('"') else {
                    return wrong("a quote is not closed");
                };
                steps.push(Step::Key(key.to_owned()));
                rest = after;
            } else {
                let end = rest.find(['.', '[', '"']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if key.is_empty() {
                    return wrong("a key is missing");
                }
                steps.push(Step::Key(key.to_owned()));
                rest = after;
            }
            while let Some(after) = rest.strip_prefix('[') {
                let Some((index, after)) = after.split_once(']') else {
                    return wrong("a bracket is not closed");
                };
                steps.push(match index {
                    "-1" => Step::Last,
                    index => match index.parse() {
                        Ok(index) => Step::Element(index),
                        Err(_) => return wrong("an index is a number from 0, or -1 for the last"),
                    },
                });
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(Self(steps)),
                None => return wrong("a dot is missing between two keys"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Step {
        Step::Key(text.into())
    }

    #[test]
    fn paths_of_all_forms() {
        for (text, steps) in [
            ("a", vec![key("a")]),
            ("a.b-c.@type", vec![key("a"), key("b-c"), key("@type")]),
            ("a[0].b", vec![key("a"), Step::Element(0), key("b")]),
            ("a[-1][2]", vec![key("a"), Step::Last, Step::Element(2)]),
            (
                r#"claims."http://x.org/a:b".c"#,
                vec![key("claims"), key("http://x.org/a:b"), key("c")],
            ),
            (
                r#""container.id"[0]"#,
                vec![key("container.id"), Step::Element(0)],
            ),
        ] {
            assert_eq!(Path::parse(text), Ok(Path(steps)), "{text}");
        }
    }

    #[test]
    fn bad_paths_say_what_is_wrong() {
        for (text, what) in [
            ("", "a key is missing"),
            ("a..b", "a key is missing"),
            (".a", "a key is missing"),
            ("a.", "a key is missing"),
            ("[0]", "a key is missing"),
            ("a[x]", "an index"),
            ("a[-2]", "an index"),
            ("a[0", "not closed"),
            (r#"a."b"#, "not closed"),
            (r#""a"b"#, "a dot is missing"),
            ("a[0]b", "a dot is missing"),
        ] {
            let error = Path::parse(text).expect_err(text);
            assert!(error.contains(what), "{error}");
        }
    }
}
