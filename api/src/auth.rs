//! Who asks, and what they may do.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::config::{ConfigError, Token};

/// Each role may do what those before it may. `hook` is for automated response and reads like `viewer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Hook,
    Analyst,
    Engineer,
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Hook => "hook",
            Self::Analyst => "analyst",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }
    fn rank(self) -> u8 {
        match self {
            Self::Viewer | Self::Hook => 0,
            Self::Analyst => 1,
            Self::Engineer => 2,
            Self::Admin => 3,
        }
    }
    pub fn allows(self, needed: Self) -> bool {
        self.rank() >= needed.rank()
    }
}

/// The one who asks; handlers find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: Arc<str>,
    pub role: Role,
}

#[derive(Debug)]
struct Known {
    sha256: [u8; 32],
    caller: Caller,
}

/// All tokens. Without any, everybody who reaches the loopback address is `local` and may do everything.
#[derive(Debug)]
pub struct Auth {
    known: Vec<Known>,
}

impl Auth {
    pub fn new(tokens: &[Token]) -> Result<Self, ConfigError> {
        let mut known: Vec<Known> = Vec::with_capacity(tokens.len());
        for token in tokens {
            let name = token.name.as_str();
            let printable = !name.chars().any(char::is_control);
            if name.is_empty() || name.len() > 100 || !printable || name == "weir" {
                return Err(ConfigError::BadName(name.to_owned()));
            }
            if known.iter().any(|other| &*other.caller.name == name) {
                return Err(ConfigError::DuplicateName(name.to_owned()));
            }
            let sha256 = parse_hash(&token.sha256_hex)
                .ok_or_else(|| ConfigError::BadHash(name.to_owned()))?;
            let caller = Caller {
                name: name.into(),
                role: token.role,
            };
            known.push(Known { sha256, caller });
        }
        Ok(Self { known })
    }

    /// Whether no tokens are configured.
    pub fn is_local(&self) -> bool {
        self.known.is_empty()
    }

    pub(crate) fn local_caller() -> Caller {
        Caller {
            name: "local".into(),
            role: Role::Admin,
        }
    }

    /// The holder of the request's bearer token.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        // Every known hash is compared, and none of it early: time tells nothing about the tokens.
        let mut found = u64::MAX;
        for (index, known) in self.known.iter().enumerate() {
            let equal = known.sha256.ct_eq(&hash);
            found.conditional_assign(&(index as u64), equal);
        }
        let index = usize::try_from(found).ok()?;
        self.known.get(index).map(|known| known.caller.clone())
    }
}

fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

/// A fresh token of 256 random bits, and the hash that the configuration keeps of it.
pub fn new_token() -> std::io::Result<(String, String)> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    let token = format!("weir_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let hash = sha256_hex(&token);
    Ok((token, hash))
}

/// The hash that the configuration keeps of a token.
pub fn sha256_hex(token: &str) -> String {
    let hash = Sha256::digest(token.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_new_token_opens_and_nothing_else_does() {
        let (token, sha256_hex) = new_token().unwrap();
        let (other, other_hash) = new_token().unwrap();
        assert_ne!(token, other);
        let entry = |name: &str, hash: &str, role| Token {
            name: name.into(),
            sha256_hex: hash.into(),
            role,
        };
        let auth = Auth::new(&[
            entry("ann", &sha256_hex, Role::Analyst),
            entry("bob", &other_hash, Role::Admin),
        ])
        .unwrap();
        let caller = auth.caller(&with(&format!("Bearer {token}"))).unwrap();
        assert_eq!((&*caller.name, caller.role), ("ann", Role::Analyst));
        let caller = auth.caller(&with(&format!("bearer {other}"))).unwrap();
        assert_eq!(&*caller.name, "bob");
        for wrong in [
            "Bearer ".to_owned(),
            "Bearer".to_owned(),
            token.clone(),
            format!("Basic {token}"),
            format!("Bearer {token}x"),
            format!("Bearer {sha256_hex}"),
        ] {
            assert!(auth.caller(&with(&wrong)).is_none(), "{wrong}");
        }
        let mut twice = with(&format!("Bearer {token}"));
        twice.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(auth.caller(&twice).is_none());
        assert!(auth.caller(&HeaderMap::new()).is_none());
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex("abc"), abc);
        assert_eq!(parse_hash(abc).unwrap()[0], 0xba);
        assert!(parse_hash(&abc[1..]).is_none());
        assert!(parse_hash(&abc.replace('b', "+")).is_none());
    }

    #[test]
    fn bad_tokens_in_the_configuration_are_named() {
        let entry = |name: &str, hash: &str| Token {
            name: name.into(),
            sha256_hex: hash.into(),
            role: Role::Viewer,
        };
        let hash = sha256_hex("x");
        let error = |tokens: &[Token]| Auth::new(tokens).unwrap_err().to_string();
        assert!(error(&[entry("ann", "plain text")]).contains("token ann"));
        assert!(error(&[entry("ann", &hash), entry("ann", &hash)]).contains("\"ann\""));
        assert!(error(&[entry("weir", &hash)]).contains("weir"));
        assert!(error(&[entry("\u{1b}", &hash)]).contains("\\u{1b}"));
    }

    #[test]
    fn roles_include_those_below() {
        assert!(Role::Admin.allows(Role::Engineer) && Role::Engineer.allows(Role::Analyst));
        assert!(Role::Analyst.allows(Role::Viewer) && Role::Hook.allows(Role::Viewer));
        assert!(!Role::Viewer.allows(Role::Analyst) && !Role::Hook.allows(Role::Analyst));
    }
}
