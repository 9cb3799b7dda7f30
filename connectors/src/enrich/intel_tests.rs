#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn indicator(value: &str, confidence: u8) -> Indicator {
    Indicator {
        value: value.into(),
        kind: "ip",
        source: "list".into(),
        confidence,
        expires: None,
        next: NONE,
    }
}

fn intel(lines: &[(&str, u8)]) -> Intel {
    let read = lines.iter().map(|(text, confidence)| {
        let key = network(text)
            .or_else(|| address(text))
            .or_else(|| domain(text))
            .or_else(|| hash(text));
        (
            key.expect("a valid indicator"),
            indicator(text, *confidence),
        )
    });
    Intel::build(read.collect())
}

fn values(intel: &Intel, found: Vec<u32>) -> Vec<&str> {
    let value = |number: &u32| intel.indicators[*number as usize].value.as_str();
    found.iter().map(value).collect()
}

#[test]
fn the_longest_prefix_comes_first_then_the_higher_confidence_then_the_earlier_line() {
    let intel = intel(&[
        ("10.0.0.0/8", 90),
        ("10.1.0.0/16", 10),
        ("10.1.2.3", 20),
        ("10.1.255.255/16", 80),
        ("10.1.9.9/16", 80),
    ]);
    assert_eq!(
        values(&intel, intel.by_address("10.1.2.3")),
        [
            "10.1.2.3",
            "10.1.255.255/16",
            "10.1.9.9/16",
            "10.1.0.0/16",
            "10.0.0.0/8"
        ]
    );
    assert!(intel.by_address("11.1.2.3").is_empty());
    assert!(intel.by_address("not an address").is_empty());
}

#[test]
fn ipv4_mapped_addresses_are_ipv4_on_both_sides() {
    let intel = intel(&[("::ffff:192.0.2.7", 50), ("::ffff:198.51.100.0/120", 50)]);
    assert_eq!(intel.by_address("192.0.2.7").len(), 1);
    assert_eq!(intel.by_address("::ffff:192.0.2.7").len(), 1);
    assert_eq!(intel.by_address("198.51.100.200").len(), 1);
    assert_eq!(intel.by_address("::ffff:c633:6401").len(), 1);
    assert!(intel.by_address("198.51.101.1").is_empty());
}

#[test]
fn the_empty_prefix_matches_its_own_family_only() {
    let intel = intel(&[("::/0", 50)]);
    assert_eq!(intel.by_address("2001:db8::1").len(), 1);
    assert!(intel.by_address("192.0.2.7").is_empty());
    let intel = super::tests::intel(&[("0.0.0.0/0", 50)]);
    assert_eq!(intel.by_address("192.0.2.7").len(), 1);
    assert!(intel.by_address("2001:db8::1").is_empty());
}

#[test]
fn a_domain_matches_itself_and_its_subdomains_but_not_its_lookalikes() {
    let intel = intel(&[("*.Evil.Example", 50), ("c2.evil.example", 50)]);
    assert_eq!(
        values(&intel, intel.by_domain("a.C2.evil.example.")),
        ["c2.evil.example", "*.Evil.Example"]
    );
    assert_eq!(intel.by_domain("evil.example").len(), 1);
    assert!(intel.by_domain("notevil.example").is_empty());
    assert!(intel.by_domain("example").is_empty());
    assert!(intel.by_domain("AWS Internal").is_empty());
}

#[test]
fn an_image_matches_by_its_digest() {
    let digest = "ab".repeat(32);
    let intel = intel(&[(&digest.to_uppercase(), 50)]);
    let image = format!("docker.io/library/miner@sha256:{digest}");
    assert_eq!(intel.by_image(&image).len(), 1);
    assert!(intel.by_image("docker.io/library/miner:latest").is_empty());
}

#[test]
fn what_is_no_indicator_is_refused() {
    for text in [
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0/8",
        "::/129",
        "10.0.0.0",
    ] {
        assert_eq!(network(text), None, "{text}");
    }
    for text in ["com", "a..b", "", "http://a.b/c", "1.2.3.4", "a b.c"] {
        assert_eq!(domain(text), None, "{text}");
    }
    for text in ["", "abc", &"g".repeat(64)] {
        assert_eq!(hash(text), None, "{text}");
    }
    assert_eq!(hash(&"a".repeat(32)), Some(Key::OtherHash));
}

/// Addresses from a small space, so that networks and addresses meet often.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u32..64, 0u32..4).prop_map(|(low, high)| Ipv4Addr::from((high << 30) | low).into());
    let v6 = (0u128..64, 0u128..4)
        .prop_map(|(low, high)| Ipv6Addr::from((high << 126) | (1 << 64) | low).into());
    prop_oneof![v4, v6]
}

fn contains(net: (IpAddr, u8), address: IpAddr) -> bool {
    let bits = |ip: IpAddr| -> Vec<bool> {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let bit = |octet: &u8| {
            (0..8)
                .rev()
                .map(|i| octet >> i & 1 == 1)
                .collect::<Vec<_>>()
        };
        octets.iter().flat_map(bit).collect()
    };
    net.0.is_ipv4() == address.is_ipv4()
        && bits(net.0)[..net.1 as usize] == bits(address)[..net.1 as usize]
}

proptest! {
    #[test]
    fn networks_match_as_a_walk_over_the_list_does(
        nets in prop::collection::vec((any_address(), 0u8..=128), 0..40),
        addresses in prop::collection::vec(any_address(), 1..40),
    ) {
        let nets: Vec<(IpAddr, u8)> = nets
            .into_iter()
            .map(|(start, length)| (start, if start.is_ipv4() { length % 33 } else { length }))
            .collect();
        let text: Vec<String> = nets.iter().map(|(start, length)| format!("{start}/{length}")).collect();
        let lines: Vec<(&str, u8)> = text.iter().map(|text| (text.as_str(), 50)).collect();
        let intel = intel(&lines);
        for address in addresses {
            let mut expected: Vec<(u8, usize)> = nets
                .iter()
                .enumerate()
                .filter(|(_, net)| contains(**net, address))
                .map(|(line, net)| (u8::MAX - net.1, line))
                .collect();
            expected.sort_unstable();
            let expected: Vec<&str> = expected.iter().map(|(_, line)| text[*line].as_str()).collect();
            let found = intel.by_address(&address.to_string());
            prop_assert_eq!(values(&intel, found), expected);
        }
    }
}
