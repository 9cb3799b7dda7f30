//! STIX 2.1 indicators. Of a pattern those comparisons are read that each suffice on their own: joined by
//! OR, within or between brackets; beside a condition that only says of which type the value is. What needs more than
//! one value at a time cannot be looked up.

use serde_json::Value;

use super::value::{self, Key, Kind};

/// What a pattern asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Pattern {
    pub values: Vec<(Kind, String)>,
    /// Why alternatives are not used.
    pub unused: Vec<&'static str>,
}

/// Parts must hold together: AND, FOLLOWEDBY.
const TOGETHER: &str = "needs_several_values";
/// Held to a time or a number: START, WITHIN, REPEATS.
const QUALIFIED: &str = "qualified_pattern";
/// Compared otherwise than for equality.
const COMPARISON: &str = "comparison_not_matched";
/// Something that events are not compared with.
const PROPERTY: &str = "type_not_matched";

/// Parentheses within each other.
const DEPTH: usize = 32;

/// Reads a pattern. None when it is no STIX pattern.
pub fn pattern(text: &str) -> Option<Pattern> {
    let mut tokens = tokens(text)?;
    tokens.reverse();
    let mut reader = Reader { tokens };
    let found = reader.followed(DEPTH)?;
    reader.tokens.is_empty().then(|| found.pattern())
}

/// What a part of a pattern comes to.
enum Part {
    /// Values that each suffice, and why other alternatives are not used; the path of the one object that all of them
    /// are of.
    Any(Pattern, Option<String>),
    /// Only says of which type an object is: path in front of `type`, and type.
    Type(String, String),
}

impl Part {
    fn unused(reason: &'static str) -> Self {
        let pattern = Pattern {
            unused: vec![reason],
            ..Pattern::default()
        };
        Self::Any(pattern, None)
    }

    fn pattern(self) -> Pattern {
        match self {
            Self::Any(pattern, _) => pattern,
            Self::Type(..) => Pattern {
                unused: vec![PROPERTY],
                ..Pattern::default()
            },
        }
    }

    fn or(self, other: Self) -> Self {
        let path = match (&self, &other) {
            (Self::Any(_, one), Self::Any(_, two)) if one == two => one.clone(),
            _ => None,
        };
        let (mut all, more) = (self.pattern(), other.pattern());
        all.values.extend(more.values);
        all.unused.extend(more.unused);
        Self::Any(all, path)
    }
}

/// Reads tokens, the first of which is the last.
struct Reader {
    tokens: Vec<Token>,
}

impl Reader {
    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.last(), Some(Token::Word(next)) if next == word);
        if is {
            self.tokens.pop();
        }
        is
    }

    fn close(&mut self, sign: &'static str) -> Option<()> {
        (self.tokens.pop()? == Token::Sign(sign)).then_some(())
    }

    /// `observations FOLLOWEDBY observations …`
    fn followed(&mut self, depth: usize) -> Option<Part> {
        let mut found = self.either(depth)?;
        while self.word("FOLLOWEDBY") {
            self.either(depth)?;
            found = Part::unused(TOGETHER);
        }
        Some(found)
    }

    fn either(&mut self, depth: usize) -> Option<Part> {
        let mut found = self.both(depth)?;
        while self.word("OR") {
            found = found.or(self.both(depth)?);
        }
        Some(found)
    }

    fn both(&mut self, depth: usize) -> Option<Part> {
        let mut found = self.observation(depth)?;
        while self.word("AND") {
            self.observation(depth)?;
            found = Part::unused(TOGETHER);
        }
        Some(found)
    }

    /// `[…]` or `(…)`, and what it is held to.
    fn observation(&mut self, depth: usize) -> Option<Part> {
        let mut found = match self.tokens.pop()? {
            Token::Sign("(") => {
                let found = self.followed(depth.checked_sub(1)?)?;
                self.close(")")?;
                found
            }
            Token::Sign("[") => {
                let found = self.alternatives(depth)?;
                self.close("]")?;
                Part::Any(found.pattern(), None)
            }
            _ => return None,
        };
        loop {
            if self.word("START") {
                self.literal()?;
                self.word("STOP").then_some(())?;
                self.literal()?;
            } else if self.word("WITHIN") {
                self.literal()?;
                self.word("SECONDS").then_some(())?;
            } else if self.word("REPEATS") {
                self.literal()?;
                self.word("TIMES").then_some(())?;
            } else {
                return Some(found);
            }
            found = Part::unused(QUALIFIED);
        }
    }

    /// `comparison OR comparison …`, in brackets.
    fn alternatives(&mut self, depth: usize) -> Option<Part> {
        let mut found = self.together(depth)?;
        while self.word("OR") {
            found = found.or(self.together(depth)?);
        }
        Some(found)
    }

    /// `comparison AND comparison …`: one value and the type that it has anyway are one value.
    fn together(&mut self, depth: usize) -> Option<Part> {
        let mut parts = vec![self.comparison(depth)?];
        while self.word("AND") {
            parts.push(self.comparison(depth)?);
        }
        if parts.len() == 1 {
            return parts.pop();
        }
        let (mut types, mut rest) = (vec![], vec![]);
        for part in parts {
            match part {
                Part::Type(of, kind) => types.push((of, kind)),
                Part::Any(pattern, path) => rest.push((pattern, path)),
            }
        }
        let Some((mut found, path)) = rest.pop() else {
            return Some(Part::unused(PROPERTY));
        };
        let own = |(of, _): &(String, String)| path.as_ref() == Some(of);
        if !rest.is_empty() || !types.iter().all(own) {
            return Some(Part::unused(TOGETHER));
        }
        // The value must be of the type that is said.
        let before = found.values.len();
        found
            .values
            .retain(|(_, value)| types.iter().all(|(_, kind)| is_of_type(value, kind)));
        let refused = before - found.values.len();
        found.unused.extend(vec![TOGETHER; refused]);
        Some(Part::Any(found, path))
    }

    fn comparison(&mut self, depth: usize) -> Option<Part> {
        let path = match self.tokens.pop()? {
            Token::Sign("(") => {
                let found = self.alternatives(depth.checked_sub(1)?)?;
                self.close(")")?;
                return Some(found);
            }
            Token::Word(word) if word == "EXISTS" => {
                self.tokens.pop()?;
                return Some(Part::unused(COMPARISON));
            }
            Token::Word(path) => path,
            _ => return None,
        };
        let kinds = kinds(&path);
        let mut found = Pattern::default();
        let mut take = |value: String, readable: bool| {
            let fits = |kind: &&Kind| kinds.len() == 1 || value::read(&value, Some(**kind)).is_ok();
            match kinds.iter().find(fits) {
                Some(kind) if readable => found.values.push((*kind, value)),
                Some(_) => found.unused.push(COMPARISON),
                None => found.unused.push(PROPERTY),
            }
        };
        let not = self.word("NOT");
        let (of, property) = path.rsplit_once(['.', ':'])?;
        match self.tokens.pop()? {
            Token::Sign("=" | "==") => {
                let value = self.literal()?;
                if property == "type" && !not {
                    return Some(Part::Type(of.to_owned(), value));
                }
                take(value, !not);
            }
            Token::Sign("!=" | "<>" | "<=" | ">=" | "<" | ">") => take(self.literal()?, false),
            Token::Word(word) => match word.as_str() {
                "ISSUBSET" => {
                    let of_address = kinds.contains(&Kind::Ip);
                    take(self.literal()?, of_address && !not);
                }
                "LIKE" | "MATCHES" | "ISSUPERSET" => take(self.literal()?, false),
                "IN" => {
                    self.close("(")?;
                    loop {
                        take(self.literal()?, !not);
                        match self.tokens.pop()? {
                            Token::Sign(",") => {}
                            Token::Sign(")") => break,
                            _ => return None,
                        }
                    }
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(Part::Any(found, Some(of.to_owned())))
    }

    fn literal(&mut self) -> Option<String> {
        match self.tokens.pop()? {
            Token::Text(text) | Token::Word(text) => Some(text),
            Token::Sign(_) => None,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    /// `[ ] ( ) ,` and comparison operators.
    Sign(&'static str),
    /// A path or keyword.
    Word(String),
    Text(String),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    const SIGNS: [&str; 13] = [
        "[", "]", "(", ")", ",", "!=", "<>", "<=", ">=", "==", "=", "<", ">",
    ];
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '\'' {
            let (text, after) = quoted(&rest[1..])?;
            tokens.push(Token::Text(text));
            rest = after;
        } else {
            let (word, after) = word(rest)?;
            tokens.push(Token::Word(word));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Some(tokens)
}

/// The text up to the closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// A path such as `file:hashes.'SHA-256'`, a keyword, or a literal without quotes.
fn word(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            let (name, after) = quoted(&rest[1..])?;
            word.push_str(&name);
            rest = after;
        } else if c == '[' && !word.is_empty() {
            let end = rest.find(']')?;
            rest = &rest[end + 1..];
        } else if c.is_whitespace() || "[](),=<>!".contains(c) {
            break;
        } else {
            word.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (!word.is_empty()).then_some((word, rest))
}

/// Kinds that a property's values can be of.
fn kinds(path: &str) -> &'static [Kind] {
    let Some((object, property)) = path.split_once(':') else {
        return &[];
    };
    match (object, property) {
        ("ipv4-addr" | "ipv6-addr", "value") => &[Kind::Ip],
        ("domain-name", "value") => &[Kind::Domain],
        ("url", "value") => &[Kind::Url],
        // What the reference leads to can be an address or a domain.
        ("network-traffic", "src_ref.value" | "dst_ref.value") => &[Kind::Ip, Kind::Domain],
        ("file" | "artifact", _) => match property.strip_prefix("hashes.").map(Kind::of_word) {
            Some(Some(Kind::Hash)) => &[Kind::Hash],
            _ => &[],
        },
        _ => &[],
    }
}

/// Whether a value is what an object of this type has as its `value`.
fn is_of_type(value: &str, kind: &str) -> bool {
    let read = |kind| value::read(value, Some(kind)).map(|(_, key)| key);
    match kind {
        "ipv4-addr" => matches!(read(Kind::Ip), Ok(Key::V4(..))),
        "ipv6-addr" => matches!(read(Kind::Ip), Ok(Key::V6(..))),
        "domain-name" => read(Kind::Domain).is_ok(),
        "url" => read(Kind::Url).is_ok(),
        "file" | "artifact" => read(Kind::Hash).is_ok(),
        _ => false,
    }
}

/// `indicator_types` and `labels` of an object.
pub fn labels(object: &Value) -> Vec<&str> {
    let lists = ["indicator_types", "labels"];
    let items = lists
        .iter()
        .filter_map(|name| object.get(name)?.as_array())
        .flatten();
    items.filter_map(Value::as_str).collect()
}
