//! Flow logs in every layout, and access lines into which a client wrote.

use serde_json::{Value, json};

use crate::decode::tests::{decode_with, row};
use crate::decode::{DecoderConfig, FormatChoice};

/// Rows, events left out, and reason and detail of each dead letter.
type Read = (Vec<Value>, u64, Vec<(&'static str, String)>);

fn read_with(config: DecoderConfig, text: &str) -> Read {
    let lines: Vec<_> = text.lines().map(str::as_bytes).collect();
    let batch = decode_with(config, &lines);
    let rows = (0..batch.events.num_rows()).map(|at| row(&batch, at));
    let letters = batch.dead_letters.iter();
    let letters = letters.map(|letter| (letter.reason, letter.detail.clone()));
    (rows.collect(), batch.counts.filtered, letters.collect())
}

/// What the lines of one log become.
fn read(text: &str) -> Read {
    read_with(DecoderConfig::new("log"), text)
}

fn pick<'a>(row: &'a Value, columns: &[&str]) -> Vec<&'a Value> {
    columns.iter().map(|column| &row[*column]).collect()
}

const ENDS: [&str; 4] = [
    "src_endpoint_ip",
    "dst_endpoint_ip",
    "dst_endpoint_port",
    "action",
];

#[test]
fn flow_headers_in_any_spelling() {
    let line = "2 111122223333 eni-0a1 203.0.113.7 10.0.0.5 443 49152 6 4000 8 1791968400 1791968460 REJECT OK";
    let names = "version account-id interface-id dstaddr srcaddr dstport srcport protocol bytes packets start end action log-status";
    let braced: String = names
        .split(' ')
        .map(|name| format!("${{{name}}} "))
        .collect();
    for header in [
        names.to_owned(),
        names.replace('-', "_"),
        names.to_uppercase(),
        names.to_uppercase().replace('-', "_"),
        names.replace(' ', "\t") + " \r",
        names.replace(' ', "   "),
        braced,
    ] {
        for line in [
            line.to_owned(),
            line.replace(' ', "\t"),
            format!("  {line} \r"),
            line.replace(' ', "  "),
        ] {
            let (rows, filtered, letters) = read(&format!("{header}\n{line}"));
            assert_eq!((rows.len(), filtered, letters), (1, 1, vec![]), "{header}");
            let ends = [
                json!("10.0.0.5"),
                json!("203.0.113.7"),
                json!(443),
                json!("denied"),
            ];
            assert_eq!(pick(&rows[0], &ENDS), ends.iter().collect::<Vec<_>>());
            assert_eq!(rows[0]["traffic_bytes"], 4000);
        }
    }
}

#[test]
fn a_transit_gateway_has_no_interface_and_no_action() {
    let text = "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end log-status type packets-lost-no-route flow-direction region\n\
        6 TransitGateway 111122223333 tgw-0a1 tgw-attach-0b1 vpc-0a1 10.0.0.5 203.0.113.7 49152 22 6 8 4000 1791968400 1791968460 OK IPv4 0 egress us-east-1\n\
        6 TransitGateway 111122223333 tgw-0a1 tgw-attach-0b1 - - - - - - - - 1791968400 1791968460 NODATA - - - us-east-1";
    let (rows, filtered, letters) = read(text);
    assert_eq!((rows.len(), filtered, letters), (1, 2, vec![]));
    let ends = [
        json!("10.0.0.5"),
        json!("203.0.113.7"),
        json!(22),
        json!(null),
    ];
    assert_eq!(pick(&rows[0], &ENDS), ends.iter().collect::<Vec<_>>());
    let what = pick(
        &rows[0],
        &[
            "resource_type",
            "resource_uid",
            "resource_name",
            "traffic_packets",
        ],
    );
    let wanted = [
        json!("AWS::EC2::TransitGateway"),
        json!("tgw-0a1"),
        json!("tgw-attach-0b1"),
        json!(8),
    ];
    assert_eq!(what, wanted.iter().collect::<Vec<_>>());
}

#[test]
fn flow_fields_of_ones_own_need_a_time_and_an_address() {
    // Without interface-id; only one of the times; names of versions to come.
    for header in [
        "srcaddr dstaddr dstport end action",
        "SRCADDR DSTADDR DSTPORT start-time-ns END ACTION protocol",
    ] {
        let line = match header.len() < 40 {
            true => "10.0.0.5 203.0.113.7 443 1791968460 ACCEPT",
            false => "10.0.0.5 203.0.113.7 443 1791968400000000000 1791968460 ACCEPT 6",
        };
        let (rows, _, letters) = read(&format!("{header}\n{line}"));
        assert_eq!((rows.len(), letters), (1, vec![]), "{header}");
        assert_eq!(rows[0]["time"], 1_791_968_460_000_000i64);
    }
    let (rows, filtered, letters) = read(
        "account-id interface-id srcaddr dstaddr dstport action flow-direction\n111122223333 eni-0a1 203.0.113.7 10.0.0.5 22 REJECT ingress",
    );
    assert_eq!(
        (rows.len(), filtered, letters[0].0),
        (0, 1, "missing_field")
    );
    assert!(letters[0].1.contains("`start` and `end`"), "{letters:?}");
    let (rows, _, letters) =
        read("account-id interface-id start end action\n1 eni-1 1791968400 1791968460 ACCEPT");
    assert_eq!((rows.len(), letters[0].0), (0, "missing_field"));
    assert!(letters[0].1.contains("`srcaddr`"), "{letters:?}");
    // Dashes where addresses belong, and no column that says why: no data.
    let (rows, filtered, letters) =
        read("interface-id srcaddr dstaddr start end\neni-1 - - 1791968400 1791968460");
    assert_eq!((rows.len(), filtered, letters), (0, 2, vec![]));
}

#[test]
fn a_flow_line_is_not_read_by_a_position_that_nobody_told() {
    let default = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1791968400 1791968460 ACCEPT OK";
    assert_eq!(read(default).0.len(), 1);
    assert_eq!(read(&default.replace(' ', "\t")).0.len(), 1);
    for (from, to) in [
        ("2 1111", "3 1111"),
        ("ACCEPT OK", "OK ACCEPT"),
        ("8 4000", "4000 8"),
        ("10.0.0.5", "49152"),
        ("ACCEPT OK", "ACCEPT"),
        ("ACCEPT OK", "ACCEPT OK x"),
        ("1791968400 1791968460", "1791968460 1791968400"),
        ("443 6", "https tcp"),
    ] {
        let (rows, filtered, letters) = read(&default.replace(from, to));
        assert_eq!((rows.len(), filtered, letters.len()), (0, 0, 1), "{to}");
        assert_eq!(letters[0].0, "unknown_format");
        assert!(letters[0].1.contains("without a header"), "{letters:?}");
    }
    // A line that looks like the default does not make one of its successor.
    let own = "OK eni-0a1 203.0.113.7 10.0.0.5 1791968400 1791968460 ACCEPT";
    let (rows, _, letters) = read(&format!("{default}\n{own}\n{default}"));
    assert_eq!((rows.len(), letters.len()), (2, 1));
}

#[test]
fn flow_lines_that_do_not_fit_their_header_say_how() {
    let header = "srcaddr dstaddr start end action";
    for (line, reason, says) in [
        (
            "10.0.0.5 203.0.113.7 1791968400 1791968460",
            "missing_field",
            "4 fields; its header names 5",
        ),
        (
            "10.0.0.5 203.0.113.7 1791968400 1791968460 ACCEPT OK",
            "unknown_format",
            "6 fields; its header names 5",
        ),
        (
            "10.0.0.5 443 1791968400 1791968460 ACCEPT",
            "wrong_type",
            "field 2",
        ),
        (
            "10.0.0.5 203.0.113.7 1791968400 eni-1 ACCEPT",
            "wrong_type",
            "field 4",
        ),
        (
            "10.0.0.5 203.0.113.7 1791968400 1791968460 OK",
            "wrong_type",
            "ACCEPT or REJECT",
        ),
    ] {
        let (rows, _, letters) = read(&format!("{header}\n{line}"));
        assert_eq!((rows.len(), letters.len()), (0, 1), "{line}");
        assert_eq!(letters[0].0, reason, "{line}");
        assert!(letters[0].1.contains(says), "{letters:?}");
    }
    // A new header takes the place of the one before; other lines stay what they are.
    let access = "[2026-01-02T03:04:05.312Z] \"GET / HTTP/1.1\" 200 - 0 1 1 1 \"-\" \"bot\" \"820b\" \"a\" \"127.0.0.1:8000\"";
    let text = format!(
        "{header}\n10.0.0.5 203.0.113.7 1791968400 1791968460 ACCEPT\n{access}\ndstaddr srcaddr end start\n10.0.0.5 203.0.113.7 1791968460 1791968400"
    );
    let (rows, filtered, letters) = read(&text);
    assert_eq!((rows.len(), filtered, letters), (3, 2, vec![]));
    assert_eq!(rows[2]["src_endpoint_ip"], "203.0.113.7");
    assert_eq!(rows[2]["time"], 1_791_968_400_000_000i64);
}

#[test]
fn configured_flow_fields_are_names_in_any_spelling() {
    let line = "203.0.113.7 10.0.0.5 1791968400 1791968460";
    for (names, fine) in [
        ("srcaddr dstaddr start end", true),
        ("${srcaddr} ${dstaddr} ${start} ${end}", true),
        ("SrcAddr  DstAddr\tStart End", true),
        ("srcaddr dstaddr vpc-id subnet-id", false),
        ("start end action bytes", false),
        ("a b c d", false),
        ("srcaddr srcaddr start end", false),
        ("", false),
    ] {
        assert_eq!(crate::decode::are_flow_fields(names), fine, "{names}");
        let config = DecoderConfig {
            columns: Some(names.into()),
            ..DecoderConfig::new("log")
        };
        let (rows, ..) = read_with(config, line);
        assert_eq!(rows.len(), usize::from(fine), "{names}");
    }
}

#[test]
fn a_flow_exported_as_json() {
    let event = json!({
        "version": 2, "account_id": "111122223333", "interface_id": "eni-0a1", "srcaddr": "10.0.0.5",
        "dstaddr": "203.0.113.7", "srcport": 49152, "dstport": 443, "protocol": 6, "packets": 8, "bytes": 4000,
        "start": 1_791_968_400, "end": 1_791_968_460, "action": "ACCEPT", "log_status": "OK"
    });
    for format in [FormatChoice::Auto, FormatChoice::Named("vpc_flow")] {
        let config = DecoderConfig {
            format,
            ..DecoderConfig::new("log")
        };
        let (rows, _, letters) = read_with(config, &event.to_string());
        assert_eq!((rows.len(), letters), (1, vec![]));
        let ends = [
            json!("10.0.0.5"),
            json!("203.0.113.7"),
            json!(443),
            json!("allowed"),
        ];
        assert_eq!(pick(&rows[0], &ENDS), ends.iter().collect::<Vec<_>>());
        assert_eq!(rows[0]["cloud_account_uid"], "111122223333");
    }
    // The row says what the line says.
    let line = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1791968400 1791968460 ACCEPT OK";
    let (mut as_line, mut as_json) = (read(line).0.remove(0), read(&event.to_string()).0.remove(0));
    for row in [&mut as_line, &mut as_json] {
        for column in ["event_uid", "raw"] {
            row.as_object_mut().unwrap().remove(column);
        }
    }
    assert_eq!(as_line, as_json);
    let mut none = event.clone();
    for key in ["srcaddr", "dstaddr", "action"] {
        none[key] = Value::Null;
    }
    none["log_status"] = "NODATA".into();
    assert_eq!(read(&none.to_string()), (vec![], 1, vec![]));
    // Others have a start and an end, too.
    let (rows, ..) =
        read(&json!({"start": 1, "end": 2, "srcaddr": "10.0.0.5", "action": "ACCEPT"}).to_string());
    assert_eq!(rows, Vec::<Value>::new());
}

/// An access line of Istio's with this user agent, path and server name.
fn access(path: &str, agent: &str, server: &str) -> String {
    format!(
        "[2026-10-14T09:00:00.000Z] \"GET {path} HTTP/1.1\" 403 - via_upstream - \"-\" 0 19 15 14 \"203.0.113.7\" \
         \"{agent}\" \"9fcc0001\" \"reviews:9080\" \"10.0.0.9:9080\" inbound|9080|| 127.0.0.1:5000 10.0.0.5:9080 \
         203.0.113.7:50000 {server} default"
    )
}

const FORGED: &str = "r1\" \"reviews:9080\" \"10.0.0.9:9080\" inbound|9080|| 127.0.0.1:5000 10.0.0.5:9080 198.51.100.66:1234 sni";

#[test]
fn a_client_cannot_write_fields_into_an_access_line() {
    let plain = &read(&access("/admin", "curl/8", "outbound_.9080")).0[0];
    assert_eq!(plain["src_endpoint_ip"], "203.0.113.7");
    assert_eq!(plain["http_response_code"], 403);
    assert!(plain.get("message").is_none());
    let request = "/x HTTP/1.1\" 200 - via_upstream - \"-\" 0 1 1 1 \"1.1.1.1\" \"a\" \"b\" \"c\" \"10.0.0.9:1\" c 127.0.0.1:1 10.0.0.5:1 198.51.100.66:1 s default";
    let forged_agents = [
        "a\" \"b",
        "a\"",
        "\"",
        "\" \"",
        "a\" 1 \"b",
        "a\\\"b c",
        &format!("curl/8\" \"{FORGED}"),
        &format!("curl/8\" \"{FORGED} default"),
        "x cl 127.0.0.1:1 10.0.0.5:1 198.51.100.66:1 y",
        "x\" cl 127.0.0.1:1 10.0.0.5:1 198.51.100.66:1 y\"",
    ];
    let mut lines: Vec<_> = forged_agents
        .iter()
        .map(|agent| access("/admin", agent, "s"))
        .collect();
    for path in [request, "/a\"b", "/a\" 200 - ", "/a b c", FORGED] {
        lines.push(access(path, "curl/8", "s"));
    }
    for server in [
        FORGED,
        "a b",
        "s\" x",
        "x 127.0.0.1:1 10.0.0.5:1 198.51.100.66:1 s",
        "\"",
    ] {
        lines.push(access("/admin", "curl/8", server));
    }
    for line in &lines {
        let (rows, _, letters) = read(line);
        assert_eq!((rows.len(), letters), (1, vec![]), "{line}");
        let row = &rows[0];
        let source = &row["src_endpoint_ip"];
        assert!(
            source.is_null() || source == "203.0.113.7",
            "{source}: {line}"
        );
        let code = &row["http_response_code"];
        assert!(code.is_null() || code == 403, "{code}: {line}");
        let target = &row["dst_endpoint_ip"];
        assert!(
            target.is_null() || ["10.0.0.9", "10.0.0.5"].map(Value::from).contains(target),
            "{line}"
        );
        assert_eq!(row["time"], plain["time"]);
        assert_eq!(row["http_request_http_method"], "GET");
        let is_plain = row.get("message").is_none();
        assert!(
            !is_plain || row["http_request_user_agent"] == "curl/8" || line.contains("\"x cl"),
            "{line}"
        );
    }
    // What no client can have written is there.
    let row = &read(&access("/admin", "a\\\"b c", "s")).0[0];
    let wanted = [
        json!("203.0.113.7"),
        json!("10.0.0.9"),
        json!(403),
        json!("/admin"),
        json!(null),
    ];
    let columns = [
        "src_endpoint_ip",
        "dst_endpoint_ip",
        "http_response_code",
        "http_request_url",
        "http_request_user_agent",
    ];
    assert_eq!(pick(row, &columns), wanted.iter().collect::<Vec<_>>());
    // Envoy's own default has no addresses at the end: none is taken from the middle.
    let short = "[2026-10-14T09:00:00.000Z] \"GET / HTTP/1.1\" 200 - 0 1 1 1 \"-\" \"x\" cl 127.0.0.1:1 10.0.0.5:1 198.51.100.66:1 y\" \"id\" \"a\" \"10.0.0.9:1\"";
    let (rows, ..) = read(short);
    assert!(rows[0]["src_endpoint_ip"].is_null() && rows[0]["dst_endpoint_ip"].is_null());
}

#[test]
fn a_path_may_hold_blanks() {
    let row = &read(&access("/a b c", "curl/8", "s")).0[0];
    let wanted = [json!("/a b c"), json!("HTTP/1.1"), json!("203.0.113.7")];
    assert_eq!(
        pick(
            row,
            &[
                "http_request_url",
                "connection_info_protocol_name",
                "src_endpoint_ip"
            ]
        ),
        wanted.iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_tunnel_line_is_read_by_its_quotes_or_not_at_all() {
    let line = |error: &str| {
        format!(
            "2026-01-02T03:04:05.806642Z\terror\taccess\tconnection complete\tsrc.addr=10.129.0.48:40978 dst.addr=10.129.0.43:15008 dst.hbone_addr=\"db:80\" direction=\"outbound\" bytes_sent=283 error={error}"
        )
    };
    let (rows, _, letters) = read(&line(r#""a \"b\" src.addr=198.51.100.66:1 c""#));
    assert_eq!((rows.len(), letters), (1, vec![]));
    assert_eq!(rows[0]["src_endpoint_ip"], "10.129.0.48");
    assert_eq!(
        rows[0]["status_detail"],
        "a \"b\" src.addr=198.51.100.66:1 c"
    );
    for forged in [
        r#""a" src.addr=198.51.100.66:1 b="c""#,
        r#""a" b"#,
        r#""a"b"#,
        r#"a"b"#,
        r#""a"#,
        r#""a" error="b""#,
    ] {
        let (rows, _, letters) = read(&line(forged));
        assert_eq!((rows.len(), letters.len()), (0, 1), "{forged}");
        assert_eq!(letters[0].0, "unknown_format");
        assert!(letters[0].1.contains("ztunnel"), "{letters:?}");
    }
}
