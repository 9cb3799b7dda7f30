//! STIX 2.1 indicators. Of a pattern those comparisons are read that each suffice on their own: joined by
//! OR, within or between brackets. What needs more than one value at a time cannot be looked up.

use serde_json::Value;

use super::value::Kind;

/// What a pattern asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Pattern {
    pub values: Vec<(Kind, String)>,
    /// Alternatives that compare something that is not matched.
    pub unused: usize,
}

/// Reads a pattern. None when its parts must hold together (AND, FOLLOWEDBY, qualifiers, NOT), or when it is
/// no STIX pattern.
pub fn pattern(text: &str) -> Option<Pattern> {
    let mut tokens = tokens(text)?;
    tokens.reverse();
    let mut found = Pattern::default();
    alternatives(&mut tokens, &mut found, true)?;
    tokens.is_empty().then_some(found)
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
    const SIGNS: [&str; 12] = [
        "[", "]", "(", ")", ",", "!=", "<>", "<=", ">=", "=", "<", ">",
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

/// `part OR part …`, where a part stands in brackets (outside of observations) or in parentheses, or is a
/// comparison (inside). Tokens are in reverse.
fn alternatives(tokens: &mut Vec<Token>, found: &mut Pattern, outside: bool) -> Option<()> {
    loop {
        match tokens.pop()? {
            Token::Sign("(") => {
                alternatives(tokens, found, outside)?;
                close(tokens, ")")?;
            }
            Token::Sign("[") if outside => {
                alternatives(tokens, found, false)?;
                close(tokens, "]")?;
            }
            Token::Word(path) if !outside => comparison(&path, tokens, found)?,
            _ => return None,
        }
        match tokens.last() {
            Some(Token::Word(word)) if word == "OR" => tokens.pop(),
            Some(Token::Sign(")" | "]")) | None => return Some(()),
            _ => return None,
        };
    }
}

fn close(tokens: &mut Vec<Token>, sign: &'static str) -> Option<()> {
    (tokens.pop()? == Token::Sign(sign)).then_some(())
}

fn comparison(path: &str, tokens: &mut Vec<Token>, found: &mut Pattern) -> Option<()> {
    let kind = kind(path);
    let mut take = |value: String, readable: bool| match kind {
        Some(kind) if readable => found.values.push((kind, value)),
        _ => found.unused += 1,
    };
    match tokens.pop()? {
        Token::Sign("=") => take(literal(tokens)?, true),
        Token::Sign("!=" | "<>" | "<=" | ">=" | "<" | ">") => take(literal(tokens)?, false),
        Token::Word(word) => match word.as_str() {
            "ISSUBSET" => take(literal(tokens)?, kind == Some(Kind::Ip)),
            "LIKE" | "MATCHES" | "ISSUPERSET" => take(literal(tokens)?, false),
            "IN" => {
                close(tokens, "(")?;
                loop {
                    take(literal(tokens)?, true);
                    match tokens.pop()? {
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
    Some(())
}

fn literal(tokens: &mut Vec<Token>) -> Option<String> {
    match tokens.pop()? {
        Token::Text(text) | Token::Word(text) => Some(text),
        Token::Sign(_) => None,
    }
}

fn kind(path: &str) -> Option<Kind> {
    let (object, property) = path.split_once(':')?;
    match (object, property) {
        ("ipv4-addr" | "ipv6-addr", "value") => Some(Kind::Ip),
        ("domain-name", "value") => Some(Kind::Domain),
        ("url", "value") => Some(Kind::Url),
        ("file" | "artifact", _) => {
            let digest = property.strip_prefix("hashes.")?;
            Kind::of_word(digest).filter(|kind| *kind == Kind::Hash)
        }
        _ => None,
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
