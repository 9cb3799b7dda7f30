//! How an event ended, and whether it is one of AWS at all.

use super::{Event, SIGN_IN};
use crate::json::{Error, Scanner, Text};

/// Whose trail it is, if it is not that of AWS. All services of AWS are names under its own domain.
pub(super) fn foreign(s: &Scanner, event: &Event) -> Option<String> {
    const CLOUDS: [(&str, &str); 7] = [
        ("aliyuncs.com", "Alibaba Cloud ActionTrail"),
        ("aliyun.com", "Alibaba Cloud ActionTrail"),
        ("alibabacloud.com", "Alibaba Cloud ActionTrail"),
        ("tencentcloudapi.com", "Tencent CloudAudit"),
        ("qcloud.com", "Tencent CloudAudit"),
        ("myhuaweicloud.com", "Huawei Cloud Trace Service"),
        ("volcengineapi.com", "Volcengine CloudTrail"),
    ];
    const OWN: [&str; 3] = ["amazonaws.com", "amazonaws.com.cn", "amazon.com"];
    let value = event.source.map(|source| s.value(source));
    // As nearly all are written.
    if value
        .as_deref()
        .is_some_and(|value| value.ends_with(b".amazonaws.com"))
        && !event.foreign
    {
        return None;
    }
    let source = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).to_lowercase();
    let is_under = |domain: &&str| {
        let rest = source.strip_suffix(*domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if OWN.iter().any(is_under) && !event.foreign {
        return None;
    }
    if let Some((_, cloud)) = CLOUDS.iter().find(|(domain, _)| is_under(domain)) {
        return Some((*cloud).to_owned());
    }
    match event.foreign {
        true => Some("Alibaba Cloud ActionTrail".to_owned()),
        false => source.contains('.').then(|| format!("`{source:.60}`")),
    }
}

/// Whether a text says that it failed, if it says how it ended.
pub(super) fn answer(s: &Scanner, text: Text) -> Option<bool> {
    let value = s.value(text);
    let is = |words: &[&str]| {
        words
            .iter()
            .any(|word| word.as_bytes().eq_ignore_ascii_case(&value))
    };
    if is(&["success", "succeeded", "completed"]) {
        return Some(false);
    }
    is(&["failure", "failed", "error", "denied"]).then_some(true)
}

/// Whether it failed, if the event says so: the table "Outcomes" of docs/schema.md.
pub(super) fn outcome(s: &Scanner, event: &Event) -> Result<Option<bool>, Error> {
    if event.failed {
        return Ok(Some(true));
    }
    let is = |text: Option<Text>, word: &[u8]| text.is_some_and(|text| *s.value(text) == *word);
    let sign_in = is(event.source, SIGN_IN);
    let name = event.name.map(|name| s.value(name)).unwrap_or_default();
    // The first member that is named like the event decides, else one that is known to tell.
    let (mut named, mut other) = (None, None);
    for (place, mark) in event.answers.iter().enumerate() {
        let Some(mark) = mark else { continue };
        let details = place == 1;
        let mut again = s.clone();
        again.reset(*mark);
        again.object(|s, key| {
            let Some(failed) = s.text()?.and_then(|text| answer(s, text)) else {
                return Ok::<_, Error>(());
            };
            if *key == *name {
                named.get_or_insert(failed);
            } else if sign_in || details && matches!(key, b"status" | b"state" | b"result") {
                other.get_or_insert(failed);
            }
            Ok(())
        })?;
    }
    let untold =
        sign_in || is(event.kind, b"AwsServiceEvent") || is(event.kind, b"AwsConsoleSignIn");
    Ok(named.or(other).or((!untold).then_some(false)))
}
