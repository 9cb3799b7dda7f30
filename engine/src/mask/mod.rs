//! Secrets are not shown: passwords, tokens, private keys and the contents of Kubernetes secrets are replaced by
//! `***` in what leaves for people, logs and dead letters. What is stored, hashed and detected on stays as it is.
//!
//! JSON is walked as it stands and only strings and numbers in it are exchanged, so that valid JSON stays valid
//! and everything else stays byte for byte; text that only resembles JSON, or is cut, is walked the same way.
//! Secrets are known by the name of their member and by their shape; one under another name is not found.

mod plain;

use std::borrow::Cow;

use serde_json::Value;

pub const MASK: &str = "***";

/// JSON in strings of JSON is looked into this deep.
const DEPTH: usize = 3;

/// Masks any text: JSON, a command line, a URL, a message.
pub fn text(text: &str) -> Cow<'_, str> {
    masked(text, false, DEPTH)
}

/// Masks the texts of a value.
pub fn value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = self::text(text) {
                *text = masked;
            }
        }
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if let Cow::Owned(masked) = self::text(&text)
                && let Ok(masked) = serde_json::from_str(&masked)
            {
                *value = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masks bytes; those that are no UTF-8 are replaced where something is masked.
pub fn bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let read = String::from_utf8_lossy(bytes);
    match text(&read) {
        Cow::Owned(masked) => Cow::Owned(masked.into_bytes()),
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
    }
}

fn masked(text: &str, of_secret: bool, depth: usize) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) {
        return plain::text(text);
    }
    let out = Walk {
        text,
        at: 0,
        out: String::with_capacity(text.len()),
        frames: vec![],
        of_secret: of_secret || is_of_secret(text),
        depth,
    }
    .run();
    if out == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(out)
    }
}

/// What a name says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Harmless,
    /// Its text is secret; an object under it is not (`authorization`, `token`, `secret`).
    Secret,
    /// All under it is secret.
    Whole,
}

/// Judges the name of a member, a variable or a parameter.
fn name(text: &str) -> Name {
    const WHOLE: [&str; 5] = [
        "password",
        "passwd",
        "secretaccesskey",
        "clientsecret",
        "privatekey",
    ];
    const SECRET: [&str; 10] = [
        "sessiontoken",
        "securitytoken",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "bearertoken",
        "authtoken",
        "apikey",
        "secretkey",
        "passphrase",
    ];
    const ALONE: [&str; 9] = [
        "token",
        "pwd",
        "secret",
        "authorization",
        "proxyauthorization",
        "cookie",
        "setcookie",
        "secretstring",
        "secretbinary",
    ];
    if text.len() > 100 {
        return Name::Harmless;
    }
    let letters = text.chars().filter(|c| c.is_ascii_alphanumeric());
    let name: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    if WHOLE.iter().any(|end| name.ends_with(end)) {
        Name::Whole
    } else if SECRET.iter().any(|end| name.ends_with(end)) || ALONE.contains(&name.as_str()) {
        Name::Secret
    } else {
        Name::Harmless
    }
}

/// Whether a document is, or speaks about, a Kubernetes secret.
fn is_of_secret(text: &str) -> bool {
    let after = |value: &str, member: &str| {
        text.match_indices(value).any(|(at, _)| {
            let before = text[..at].trim_end().strip_suffix(':');
            before.is_some_and(|before| before.trim_end().ends_with(member))
        })
    };
    after("\"Secret\"", "\"kind\"")
        || after("\"SecretList\"", "\"kind\"")
        || after("\"secrets\"", "\"resource\"")
}

/// An object or array that is open.
struct Frame {
    is_object: bool,
    /// The next string is a key.
    key_next: bool,
    key: String,
    /// Everything in it is secret.
    hidden: bool,
    /// Its `name` is that of a secret: `{"name": "DB_PASSWORD", "value": …}`.
    named: bool,
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    out: String,
    frames: Vec<Frame>,
    of_secret: bool,
    depth: usize,
}

impl Walk<'_> {
    fn run(mut self) -> String {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    let is_object = *byte == b'{';
                    let hidden = self.hides(is_object);
                    self.frames.push(Frame {
                        is_object,
                        key_next: is_object,
                        key: String::new(),
                        hidden,
                        named: false,
                    });
                    self.copy(1);
                }
                b'}' | b']' => {
                    self.frames.pop();
                    self.copy(1);
                }
                b',' => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.key_next = frame.is_object;
                    }
                    self.copy(1);
                }
                b':' => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.key_next = false;
                    }
                    self.copy(1);
                }
                _ => self.bare(),
            }
        }
        self.out
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.text[self.at..self.at + length]);
        self.at += length;
    }

    /// Whether an object or array that begins here is secret as a whole.
    fn hides(&self, is_object: bool) -> bool {
        let Some(frame) = self.frames.last() else {
            return false;
        };
        let of_secret = self.of_secret && matches!(frame.key.as_str(), "data" | "stringData");
        frame.hidden
            || frame.is_object
                && match name(&frame.key) {
                    Name::Whole => true,
                    Name::Secret => !is_object,
                    Name::Harmless => of_secret && is_object,
                }
    }

    /// Whether the value that begins here is secret.
    fn is_secret(&self) -> bool {
        let Some(frame) = self.frames.last() else {
            return false;
        };
        let value = || frame.key == "value" && (frame.named || self.of_secret);
        frame.hidden || frame.is_object && (name(&frame.key) != Name::Harmless || value())
    }

    /// A string: a key, or a value. One that does not end reaches to the end of the text.
    fn string(&mut self) {
        let rest = &self.text[self.at + 1..];
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let (content, closing) = match end {
            Some(end) => (&rest[..end], "\""),
            None => (rest, ""),
        };
        self.at += 1 + content.len() + closing.len();
        let is_key = self.frames.last().is_some_and(|frame| frame.key_next);
        self.out.push('"');
        if is_key {
            self.out.push_str(content);
            if let Some(frame) = self.frames.last_mut() {
                frame.key = unescaped(content).into_owned();
            }
        } else if self.is_secret() {
            self.out
                .push_str(if content.is_empty() { "" } else { MASK });
        } else {
            self.value(content);
        }
        self.out.push_str(closing);
    }

    fn value(&mut self, content: &str) {
        let plain = unescaped(content);
        if let Some(frame) = self.frames.last_mut()
            && frame.key.eq_ignore_ascii_case("name")
        {
            frame.named = name(&plain) != Name::Harmless;
        }
        let inner = match self.depth {
            0 => plain::text(&plain),
            depth => masked(&plain, self.of_secret, depth - 1),
        };
        match inner {
            Cow::Borrowed(_) => self.out.push_str(content),
            Cow::Owned(inner) => {
                let quoted = Value::from(inner).to_string();
                self.out.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
    }

    /// What is neither string nor structure: blanks, numbers, `true`; in text that is no JSON, anything.
    fn bare(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest
            .find(['"', '{', '}', '[', ']', ',', ':'])
            .unwrap_or(rest.len());
        let bare = &rest[..end];
        let token = bare.trim();
        let is_key = self.frames.last().is_some_and(|frame| frame.key_next);
        let number = token.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let literal = matches!(token, "" | "null" | "true" | "false");
        if is_key
            && !token.is_empty()
            && let Some(frame) = self.frames.last_mut()
        {
            token.trim_matches('\'').clone_into(&mut frame.key);
        }
        if !is_key && !literal && self.is_secret() {
            let mask = if number { "\"***\"" } else { MASK };
            self.out.push_str(&bare.replace(token, mask));
        } else {
            self.out.push_str(&plain::text(bare));
        }
        self.at += end;
    }
}

/// The text that a JSON string stands for, as it is if its escapes are damaged.
fn unescaped(content: &str) -> Cow<'_, str> {
    if !content.contains('\\') {
        return Cow::Borrowed(content);
    }
    match serde_json::from_str(&format!("\"{content}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(content),
    }
}

#[cfg(test)]
mod tests;
