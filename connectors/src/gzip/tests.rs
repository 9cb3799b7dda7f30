use std::io::Write;

use super::*;

fn member(content: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    gzip.write_all(content.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// What is read, and the compressed bytes that each damage skipped.
fn read(bytes: &[u8]) -> (String, Vec<(bool, u64)>) {
    let (mut text, mut damages) = (vec![], vec![]);
    let mut gzip = Gzip::new(bytes);
    while let Err(error) = gzip.read_to_end(&mut text) {
        let one = damage(&error).unwrap();
        damages.push((one.goes_on, one.skipped));
    }
    (String::from_utf8_lossy(&text).into_owned(), damages)
}

fn content(seed: u64, lines: u64) -> String {
    let line = |index: u64| {
        format!(
            "{} {}\n",
            seed,
            (index + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        )
    };
    (0..lines).map(line).collect()
}

#[test]
fn members_padding_and_what_is_none_at_the_end() {
    let (a, b) = (content(1, 1000), content(2, 1000));
    let both = [member(&a), member(&b)].concat();
    for end in [&[][..], &[0; 4096], b"garbage", &[0, 0, b'x']] {
        let (text, damages) = read(&[&both[..], end].concat());
        assert_eq!(text, format!("{a}{b}"));
        assert_eq!(damages, [], "{end:?}");
    }
    let padded = [member(&a), vec![0; 512], member(&b)].concat();
    assert_eq!(read(&padded), (format!("{a}{b}"), vec![]));
    let lost = [&both[..], &[b'x'; 100]].concat();
    assert_eq!(read(&lost), (format!("{a}{b}"), vec![(false, 100)]));
    assert_eq!(read(&member("")), (String::new(), vec![]));
    // However short, a member that was cut is one.
    for length in [2, 3, 9, 17] {
        let cut = [&both[..], &member(&a)[..length]].concat();
        assert_eq!(
            read(&cut),
            (format!("{a}{b}"), vec![(false, length as u64)])
        );
    }
}

#[test]
fn a_damaged_member_costs_itself() {
    let (a, b, c) = (content(1, 5000), content(2, 5000), content(3, 5000));
    let (first, third) = (member(&a), member(&c));
    let middle = member(&b);
    for (what, broken) in [
        ("cut", middle[..middle.len() / 2].to_vec()),
        ("cut in its header", middle[..7].to_vec()),
        ("without a magic", [&[0, 0, 7], &middle[3..]].concat()),
        ("garbage", vec![b'x'; 3000]),
        ("overwritten", {
            let mut broken = middle.clone();
            let half = broken.len() / 2;
            broken[half..half + 64].fill(0xFF);
            broken
        }),
        ("one bit", {
            let mut broken = middle.clone();
            let at = broken.len() - 5;
            broken[at] ^= 1;
            broken
        }),
    ] {
        let all = [&first[..], &broken, &third].concat();
        let (text, damages) = read(&all);
        assert!(text.starts_with(&a) && text.ends_with(&c), "{what}");
        assert_eq!(damages.len(), 1, "{what}");
        assert!(
            damages[0].0 && damages[0].1 <= broken.len() as u64,
            "{what}: {damages:?}"
        );
        // And as the last one.
        let (text, damages) = read(&all[..all.len() - third.len()]);
        assert!(text.starts_with(&a), "{what}");
        assert!(
            damages.len() <= 1 && damages.iter().all(|one| !one.0),
            "{what}"
        );
        assert!(!damages.is_empty(), "{what}");
    }
}

#[test]
fn what_follows_a_cut_is_no_part_of_the_member() {
    let (a, b) = (content(1, 3000), content(2, 3000));
    let (first, second) = (member(&a), member(&b));
    for cut in (12..first.len()).step_by(97) {
        let (text, damages) = read(&[&first[..cut], &second].concat());
        let given = text.strip_suffix(&b).unwrap_or_else(|| panic!("{cut}"));
        assert!(a.starts_with(given), "{cut}");
        assert_eq!(damages, [(true, cut as u64)], "{cut}");
    }
}

#[test]
fn gzip_inside_a_sound_member_is_its_own() {
    // Stored, so that the inner one stands there as it is.
    let inner = member(&content(3, 2000));
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::none());
    for _ in 0..3 {
        gzip.write_all(&inner).unwrap();
    }
    let mut text = vec![];
    Gzip::new(&gzip.finish().unwrap()[..])
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, inner.repeat(3));
}

#[test]
fn damage_says_what_was_given_and_estimates_what_was_lost() {
    let a = content(1, 20_000);
    let mut packed = member(&a);
    let at = packed.len() - 5;
    packed[at] ^= 1;
    let mut text = vec![];
    let error = Gzip::new(&packed[..]).read_to_end(&mut text).unwrap_err();
    let one = damage(&error).unwrap();
    assert_eq!(text, a.as_bytes());
    assert_eq!(one.unverified, a.len() as u64);
    packed[at] ^= 1;
    let garbage = [&packed[..], &vec![b'x'; 10_000]].concat();
    let error = Gzip::new(&garbage[..])
        .read_to_end(&mut vec![])
        .unwrap_err();
    let (one, ratio) = (damage(&error).unwrap(), a.len() / packed.len());
    assert_eq!((one.unverified, one.skipped), (0, 10_000));
    let expected = 10_000 * ratio as u64..=10_000 * (ratio as u64 + 1);
    assert!(expected.contains(&one.lost), "{one:?}");
}

#[test]
fn what_looks_like_members_costs_linear_time() {
    let started = std::time::Instant::now();
    let named = [0x1F, 0x8B, 8, 8, 1, 1, 1, 1, 1, 1].repeat(30_000);
    // Each a header, and then a stored block that holds the next ones.
    let stored = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0].repeat(30_000);
    for bytes in [named, stored] {
        let mut input = member(&content(1, 10));
        input.extend(bytes);
        let (_, damages) = read(&input);
        assert!(!damages.is_empty());
    }
    assert!(started.elapsed().as_secs() < 20);
}
