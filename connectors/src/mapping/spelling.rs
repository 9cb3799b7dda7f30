//! Ways in which the keys of a format are written.

/// How the keys of a format may be written, besides as its table has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Exact,
    /// With the first letter in either case.
    FirstLetter,
    /// A name of words, with `_`, `-` or nothing between them, in small letters, in capitals, or with a capital at each
    /// word: `pkt_srcaddr`, `PKT-SRCADDR`, `pktSrcAddr`.
    Words,
}

impl Spelling {
    /// The other spellings of a key.
    pub(crate) fn others(self, key: &str) -> Vec<Vec<u8>> {
        match self {
            Self::Exact => vec![],
            Self::FirstLetter => vec![other_case(key)],
            Self::Words => of_words(key),
        }
    }
}

/// The key with the case of its first letter turned.
fn other_case(key: &str) -> Vec<u8> {
    let mut key = key.as_bytes().to_vec();
    if let Some(first) = key.first_mut() {
        *first = match first.is_ascii_lowercase() {
            true => first.to_ascii_uppercase(),
            false => first.to_ascii_lowercase(),
        };
    }
    key
}

fn of_words(key: &str) -> Vec<Vec<u8>> {
    let mut all: Vec<String> = vec![];
    for words in [key.split('_').collect(), all_words(key)] {
        for between in ["_", "-", ""] {
            let small = words.join(between);
            let capital: Vec<_> = words.iter().map(|word| capitalized(word)).collect();
            let title = capital.join(between);
            let camel = title[..1].to_lowercase() + &title[1..];
            for spelled in [&title, &camel] {
                // `accountID`.
                if let Some(rest) = spelled.strip_suffix("Id") {
                    all.push(format!("{rest}ID"));
                }
            }
            all.extend([small.to_uppercase(), small, title, camel]);
        }
    }
    all.retain(|one| one != key);
    all.sort();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

/// `pkt_srcaddr` is three words.
fn all_words(key: &str) -> Vec<&str> {
    let mut words = vec![];
    for part in key.split('_') {
        match part.split_at_checked(3) {
            Some((end @ ("src" | "dst"), rest)) if !rest.is_empty() => words.extend([end, rest]),
            _ => words.push(part),
        }
    }
    words
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_words_in_all_spellings() {
        let has = |key: &str, spelled: &str| {
            let others = Spelling::Words.others(key);
            others.iter().any(|one| one == spelled.as_bytes())
        };
        for spelled in ["SRCADDR", "srcAddr", "SrcAddr", "src_addr", "SRC-ADDR"] {
            assert!(has("srcaddr", spelled), "{spelled}");
        }
        for spelled in [
            "account-id",
            "ACCOUNT-ID",
            "ACCOUNT_ID",
            "accountId",
            "AccountId",
            "accountID",
            "accountid",
        ] {
            assert!(has("account_id", spelled), "{spelled}");
        }
        for spelled in ["pkt-srcaddr", "pktSrcAddr", "PKT_SRCADDR", "PktSrcaddr"] {
            assert!(has("pkt_srcaddr", spelled), "{spelled}");
        }
        assert!(!has("start", "start") && has("start", "START"));
        assert_eq!(Spelling::FirstLetter.others("id"), [b"Id"]);
        assert!(Spelling::Exact.others("id").is_empty());
    }
}
