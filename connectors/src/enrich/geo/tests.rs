//! Databases made by hand, of every type and schema.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use super::*;

enum Data {
    Text(&'static str),
    F64(f64),
    F32(f32),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    I32(i32),
    Flag(bool),
    List(Vec<Data>),
    Map(Vec<(&'static str, Data)>),
}
use Data::*;

impl Data {
    fn write(&self, to: &mut Vec<u8>) {
        let mut head = |kind: u8, size: usize| {
            let (short, more) = match size {
                0..29 => (size as u8, None),
                _ => (29, Some((size - 29) as u8)),
            };
            match kind {
                1..8 => to.push(kind << 5 | short),
                _ => to.extend([short, kind - 7]),
            }
            to.extend(more);
        };
        let (kind, bytes) = match self {
            Text(text) => (2, text.as_bytes().to_vec()),
            F64(number) => (3, number.to_be_bytes().to_vec()),
            U16(number) => (5, number.to_be_bytes().to_vec()),
            U32(number) => (6, number.to_be_bytes().to_vec()),
            I32(number) => (8, number.to_be_bytes().to_vec()),
            U64(number) => (9, number.to_be_bytes().to_vec()),
            U128(number) => (10, number.to_be_bytes().to_vec()),
            F32(number) => (15, number.to_be_bytes().to_vec()),
            Flag(flag) => return head(14, usize::from(*flag)),
            List(items) => {
                head(11, items.len());
                return items.iter().for_each(|item| item.write(to));
            }
            Map(fields) => {
                head(7, fields.len());
                for (name, data) in fields {
                    Text(name).write(to);
                    data.write(to);
                }
                return;
            }
        };
        head(kind, bytes.len());
        to.extend(bytes);
    }
}

/// A database with one record per network.
fn database(kind: &'static str, version: u16, networks: Vec<(&str, u32, Data)>) -> Vec<u8> {
    const NOTHING: usize = usize::MAX;
    let mut nodes = vec![[NOTHING; 2]];
    let mut data = vec![];
    let mut leaves = vec![];
    for (start, length, record) in networks {
        let bits = match start.parse().unwrap() {
            IpAddr::V4(start) if version == 4 => u128::from(start.to_bits()) << 96,
            IpAddr::V4(start) => u128::from(start.to_bits()),
            IpAddr::V6(start) => start.to_bits(),
        };
        let mut at = 0;
        for bit in 0..length {
            let side = (bits >> (127 - bit) & 1) as usize;
            if bit + 1 == length {
                leaves.push((at, side, data.len()));
            } else if nodes[at][side] == NOTHING {
                nodes.push([NOTHING; 2]);
                nodes[at][side] = nodes.len() - 1;
                at = nodes.len() - 1;
            } else {
                at = nodes[at][side];
            }
        }
        record.write(&mut data);
    }
    let count = nodes.len();
    for (at, side, offset) in leaves {
        nodes[at][side] = count + 16 + offset;
    }
    let mut bytes = vec![];
    for record in nodes.iter().flatten() {
        let record = if *record == NOTHING { count } else { *record };
        bytes.extend(&(record as u32).to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    Map(vec![
        ("node_count", U32(count as u32)),
        ("record_size", U16(24)),
        ("ip_version", U16(version)),
        ("database_type", Text(kind)),
        ("languages", List(vec![Text("en")])),
        ("binary_format_major_version", U16(2)),
        ("binary_format_minor_version", U16(0)),
        ("build_epoch", U64(1_790_000_000)),
        ("description", Map(vec![("en", Text("made by hand"))])),
    ])
    .write(&mut bytes);
    bytes
}

fn opened(city: Option<&[u8]>, asn: Option<&[u8]>) -> (Geo, Problems) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        bytes.map(|bytes| std::fs::write(&path, bytes).map(|()| path).unwrap())
    };
    let (city, asn) = (file("city.mmdb", city), file("asn.mmdb", asn));
    let mut problems = Problems::default();
    let geo = Geo::open(city.as_deref(), asn.as_deref(), &mut problems);
    (geo, problems)
}

fn looked_up(geo: &Geo, address: &str) -> Place {
    let mut places = Places::default();
    let number = geo.place(address, &mut places);
    places.all[number as usize].clone()
}

#[test]
fn numbers_of_every_type_are_read() {
    let coordinates: [(Data, Data); 7] = [
        (F64(52.5), F64(13.0)),
        (F32(52.5), F32(13.0)),
        (F64(52.5), U16(13)),
        (F32(52.5), I32(13)),
        (Text("52.5"), U64(13)),
        (Text("52.5"), U128(13)),
        (F64(52.5), Text("13")),
    ];
    for (latitude, longitude) in coordinates {
        let record = Map(vec![
            ("country", Map(vec![("iso_code", Text("DE"))])),
            (
                "location",
                Map(vec![("latitude", latitude), ("longitude", longitude)]),
            ),
            ("traits", Map(vec![("is_anycast", Flag(true))])),
            (
                "subdivisions",
                List(vec![Map(vec![("iso_code", Text("BE"))])]),
            ),
        ]);
        let bytes = database("Test-City", 4, vec![("203.0.113.0", 24, record)]);
        let (geo, problems) = opened(Some(&bytes), None);
        assert!(problems.warnings.is_empty(), "{problems:?}");
        let place = looked_up(&geo, "203.0.113.7");
        assert_eq!((place.lat, place.long), (Some(52.5), Some(13.0)));
        assert_eq!(place.country.as_deref(), Some("DE"));
    }
    let numbers = [
        U16(64_500),
        U32(64_500),
        U64(64_500),
        U128(64_500),
        I32(64_500),
        F32(64_500.0),
        F64(64_500.0),
        Text("AS64500"),
        Text("64500"),
    ];
    for number in numbers {
        let record = Map(vec![
            ("autonomous_system_number", number),
            ("autonomous_system_organization", Text("Example Net")),
        ]);
        let bytes = database("Test-ASN", 4, vec![("203.0.113.0", 24, record)]);
        let (geo, problems) = opened(None, Some(&bytes));
        assert!(problems.warnings.is_empty(), "{problems:?}");
        let place = looked_up(&geo, "203.0.113.7");
        assert_eq!(place.asn, Some(64_500));
        assert_eq!(place.as_name.as_deref(), Some("Example Net"));
    }
}

#[test]
fn flat_databases_serve_as_both_and_mapped_addresses_are_plain_ones() {
    let record = |country| {
        Map(vec![
            ("country", Text(country)),
            ("country_code", Text("DE")),
            ("asn", Text("AS64500")),
            ("as_name", Text("Example Net")),
        ])
    };
    let of_4 = database("lite", 4, vec![("203.0.113.0", 24, record("Germany"))]);
    let networks = vec![("203.0.113.0", 120, record("Germany"))];
    let of_6 = database("lite", 6, networks);
    let networks = vec![("::ffff:203.0.113.0", 120, record("Germany"))];
    let mapped = database("lite", 6, networks);
    for bytes in [of_4, of_6, mapped] {
        let (geo, problems) = opened(Some(&bytes), Some(&bytes));
        assert!(problems.warnings.is_empty(), "{problems:?}");
        for address in ["203.0.113.7", "::ffff:203.0.113.7"] {
            let place = looked_up(&geo, address);
            assert_eq!(place.country.as_deref(), Some("DE"), "{address}");
            assert_eq!(place.asn, Some(64_500), "{address}");
        }
        assert_eq!(looked_up(&geo, "192.0.2.1"), Place::default());
        assert_eq!(looked_up(&geo, "2001:db8::1"), Place::default());
    }
}

#[test]
fn what_cannot_be_used_is_told_once_and_clearly() {
    let warning = |city: &[u8]| {
        let (geo, problems) = opened(Some(city), None);
        assert_eq!(problems.warnings.len(), 1, "{problems:?}");
        (problems.warnings[0].clone(), problems.broken, geo)
    };
    let (empty, broken, _) = warning(b"");
    assert!(broken && empty.contains("the file is empty"), "{empty}");
    let (html, broken, _) = warning(b"<html>403 Forbidden</html>");
    assert!(broken && html.contains("no MaxMind DB"), "{html}");
    let proxies = || Map(vec![("proxy_type", Text("VPN")), ("score", U16(7))]);
    let other = database("proxies", 4, vec![("203.0.113.0", 24, proxies())]);
    let (schema, broken, geo) = warning(&other);
    assert!(!broken && schema.contains("another schema"), "{schema}");
    assert!(schema.contains("proxy_type, score"), "{schema}");
    assert_eq!(looked_up(&geo, "203.0.113.7"), Place::default());
    let asn = Map(vec![("asn", Text("AS1"))]);
    let (swapped, ..) = warning(&database("asn", 4, vec![("203.0.113.0", 24, asn)]));
    assert!(swapped.contains("swapped"), "{swapped}");
    let (none, ..) = warning(&database("none", 4, vec![]));
    assert!(none.contains("holds no records"), "{none}");
}
