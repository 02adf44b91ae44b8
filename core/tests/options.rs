//! The one table of options, row by row, and the page that is made of it.

use std::path::Path;
use std::time::Duration;

use unistream::*;

/// For each option: values at the edges of its range that it takes, with the form in which they are printed, and
/// values that it refuses. A new row of the table needs a new row here.
const CASES: &[(&str, &[(&str, &str)], &[&str])] = &[
    ("max_records", &[("1", "1"), ("1000000", "1000000"), (" 7 ", "7")], &["0", "1000001", "-1", "1.5", "1KiB", "x"]),
    (
        "max_bytes",
        &[("1", "1"), ("1GiB", "1073741824"), ("64 KiB", "65536"), ("1MB", "1000000")],
        &["0", "1073741825", "2GiB", "-1", "1.5MiB", "MiB", "1 parsec", "99999999999TiB"],
    ),
    (
        "linger",
        &[("0", "0"), ("86400", "86400"), ("none", "none"), ("500ms", "0.5"), ("2h", "7200")],
        &["86401", "25h", "-1", "never", "1e3", "ms", "NaN"],
    ),
    ("max_record_bytes", &[("1", "1"), ("256MiB", "268435456")], &["0", "268435457"]),
    ("durability", &[("always", "always"), ("interval", "interval"), ("os", "os")], &["Always", "0", "fsync"]),
    ("sync_interval", &[("0.001", "0.001"), ("1ms", "0.001"), ("3600", "3600")], &["0", "0.0009", "3601", "none"]),
    ("segment_bytes", &[("64KiB", "65536"), ("1GiB", "1073741824")], &["65535", "1073741825", "0"]),
    (
        "max_buffer_bytes",
        &[("256KiB", "262144"), ("10TiB", "10995116277760"), ("18446744073709551615", "18446744073709551615")],
        &["262143", "0", "18446744073709551616"],
    ),
    ("shared", &[("true", "true"), ("false", "false")], &["", "all"]),
    ("when_full", &[("block", "block"), ("error", "error"), ("drop_oldest", "drop_oldest")], &["wait", "drop"]),
    ("full_timeout", &[("0", "0"), ("1 min", "60"), ("none", "none")], &["86401", "-0.1"]),
    ("storage", &[("auto", "auto"), ("mapped", "mapped"), ("file", "file")], &["mmap"]),
    ("core_dumps", &[("include", "include"), ("exclude", "exclude")], &["yes", "none"]),
    ("trust", &[("owner", "owner"), ("group", "group"), ("anyone", "anyone")], &["everyone", ""]),
    ("mode", &[("background", "background"), ("inline", "inline"), ("manual", "manual")], &["async"]),
    ("order", &[("auto", "auto"), ("total", "total"), ("key", "key"), ("none", "none")], &["keys", "fifo", ""]),
    ("max_in_flight", &[("0", "0"), ("1", "1"), ("64", "64")], &["65", "auto"]),
    ("max_batches_ahead", &[("1", "1"), ("65536", "65536")], &["0", "65537", "none"]),
    ("max_age", &[("0.001", "0.001"), ("24h", "86400"), ("none", "none")], &["0", "-1", "old"]),
    ("on_expired", &[("auto", "auto"), ("dead_letter", "dead_letter"), ("drop", "drop")], &["skip", ""]),
    ("max_rate_records", &[("0", "0"), ("1000000000", "1000000000")], &["1000000001", "none"]),
    ("max_rate_bytes", &[("0", "0"), ("1TiB", "1099511627776")], &["1099511627777", "fast"]),
    ("on_exhausted", &[("skip", "skip"), ("raise", "raise")], &["drop", "skip raise"]),
    ("max_dead_letter_bytes", &[("0", "0"), ("1TB", "1000000000000")], &["-1", "none"]),
    ("schedule_base", &[("1", "1"), ("1.5", "1.5"), ("100", "100")], &["0.99", "100.1", "NaN", "inf", "two"]),
    ("schedule_multiplier", &[("0", "0"), ("250us", "0.00025"), ("86400", "86400")], &["86401", "none"]),
    ("schedule_min", &[("0", "0"), ("5", "5")], &["86401", "none"]),
    ("schedule_max", &[("1", "1"), ("24h", "86400")], &["25h", "none"]),
    ("schedule_waits", &[("", ""), ("1,2,4", "1,2,4"), ("500ms, 1m", "0.5,60")], &["1,x", "86401", "none", "-1"]),
    ("max_attempts", &[("0", "0"), ("1000000", "1000000")], &["1000001", "-1", "ten"]),
    ("jitter", &[("none", "none"), ("full", "full")], &["half"]),
    ("count_unavailable", &[("true", "true"), ("off", "false"), ("1", "true"), ("no", "false")], &["2", "maybe", ""]),
];

#[test]
fn every_row_has_its_cases() {
    let rows: Vec<_> = Options::TABLE.iter().map(|spec| spec.key).collect();
    let cases: Vec<_> = CASES.iter().map(|(key, _, _)| *key).collect();
    assert_eq!(rows, cases);
}

#[test]
fn every_default_is_in_range_and_is_the_default() {
    Options::default().validate().unwrap();
    for spec in Options::TABLE {
        let mut options = Options::default();
        options.set(spec.key, spec.default).unwrap_or_else(|error| panic!("{}: {error}", spec.key));
        assert_eq!(options, Options::default(), "{}", spec.key);
        assert!(!spec.doc.is_empty() && !spec.range.is_empty(), "{}", spec.key);
        let kinds = ["count", "bytes", "duration", "number", "durations", "boolean", "choice"];
        assert!(kinds.contains(&spec.kind), "{}: {}", spec.key, spec.kind);
    }
}

#[test]
fn values_are_parsed_and_printed_back() {
    for (key, good, _) in CASES {
        for (value, printed) in *good {
            let mut options = Options::default();
            options.set(key, value).unwrap_or_else(|error| panic!("{key} = {value:?}: {error}"));
            assert_eq!(options.get(key).unwrap(), *printed, "{key} = {value:?}");
            let mut again = Options::default();
            again.set(key, printed).unwrap();
            assert_eq!(again, options, "{key} = {printed:?} read back");
            // No other option has moved.
            for other in Options::TABLE.iter().filter(|spec| spec.key != *key) {
                assert_eq!(options.get(other.key), Options::default().get(other.key), "{key} = {value:?}");
            }
        }
    }
}

#[test]
fn values_out_of_range_are_refused_by_name_and_change_nothing() {
    for (key, _, bad) in CASES {
        for value in *bad {
            let mut options = Options::default();
            let error = options.set(key, value).expect_err(&format!("{key} = {value:?}"));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(key), "{key} = {value:?}: {error}");
            assert_eq!(options, Options::default(), "{key} = {value:?}");
        }
    }
}

#[test]
fn values_set_past_the_parser_are_validated_all_the_same() {
    let changes: [(&str, fn(&mut Options)); 9] = [
        ("max_records", |options| options.max_records = 0),
        ("max_bytes", |options| options.max_bytes = u64::MAX),
        ("linger", |options| options.linger = Duration::from_secs(86_401)),
        ("segment_bytes", |options| options.segment_bytes = 4096),
        ("max_in_flight", |options| options.max_in_flight = 65),
        ("schedule_base", |options| options.schedule_base = f64::NAN),
        ("schedule_waits", |options| options.schedule_waits = vec![NEVER]),
        // In range by itself, but not together.
        ("order", |options| (options.order, options.max_in_flight) = (Order::Total, 2)),
        ("schedule_min", |options| options.schedule_min = Duration::from_secs(61)),
    ];
    for (key, change) in changes {
        let mut options = Options::default();
        change(&mut options);
        let error = options.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(key), "{key}: {error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    let error = Options::default().set("max_record", "1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("\"max_record\"") && error.message().contains("max_records"), "{error}");
    assert_eq!(Options::default().get("max_record"), None);
}

/// The page is made of the table. `UPDATE_DOCS=1 cargo test -p unistream --test options` writes it anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let page = format!(
        "# Options\n\n\
         Every option of a buffer and its producer; each may change between two runs on one directory. The keys are \
         the same in Rust, C, Python and on the command line. This page is made of the table in `src/options.rs`.\n\n\
         As text, a *duration* is a number of seconds (`0.5`) or has a unit (`us`, `ms`, `s`, `m`, `min`, `h`), and \
         `none` stands for \"never\" where that is permitted; *bytes* are a whole number, or have a unit (`KiB`, \
         `MiB`, `GiB`, `TiB`; `KB`, `MB`, `GB`, `TB` are powers of 1000).\n\n{}",
        Options::reference()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/options.md is out of date: run this test with UPDATE_DOCS=1");
}
