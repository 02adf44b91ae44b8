//! `include/unistream.h` is what this makes of the crate's source. The test fails when the committed file is another;
//! `make header` writes it anew (it sets `UNISTREAM_WRITE_HEADER`).

use std::fs;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, FunctionConfig, Language, Style};
use engine::{OptionSpec, Options, Stats, sink};

const PREAMBLE: &str = include_str!("../header/preamble.h");
const HELLO: &str = include_str!("../examples/hello.c");

/// Stands before the functions that are `#[must_use]` in Rust.
const MUST_USE: &str = "UNISTREAM_MUST_USE";

/// What cbindgen cannot make of Rust.
const MACROS: &str = r#"
/** The version of this header; unistream_version() tells that of the library. */
#define UNISTREAM_VERSION "@VERSION@"
#define UNISTREAM_VERSION_MAJOR @MAJOR@
#define UNISTREAM_VERSION_MINOR @MINOR@
#define UNISTREAM_VERSION_PATCH @PATCH@
/** One number that grows: major * 1000000 + minor * 1000 + patch. */
#define UNISTREAM_VERSION_NUMBER (UNISTREAM_VERSION_MAJOR * 1000000 + UNISTREAM_VERSION_MINOR * 1000 + UNISTREAM_VERSION_PATCH)

/** Every error that is returned is the caller's to free, so none may be ignored: unistream_error_free(call()) frees one
 *  that is of no interest. */
#if defined(__GNUC__) || defined(__clang__)
#define UNISTREAM_MUST_USE __attribute__((warn_unused_result))
#else
#define UNISTREAM_MUST_USE
#endif

/** A time-out without end. */
#define UNISTREAM_FOREVER ((int64_t)-1)

/** unistream_record record = UNISTREAM_RECORD_INIT; */
#define UNISTREAM_RECORD_INIT { sizeof(unistream_record), NULL, 0, NULL, 0, NULL, 0, 0, 0, NULL, 0, NULL, 0, 0 }

/** unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT; */
#define UNISTREAM_SINK_CALLBACKS_INIT { sizeof(unistream_sink_callbacks), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL }

/** The longest memo that a sink keeps with a batch, in bytes. */
#define UNISTREAM_MAX_MEMO_BYTES 4096"#;

/// The functions' sections: the first function of each, and what it is about.
const SECTIONS: [(&str, &str); 13] = [
    ("unistream_version", "Version"),
    ("unistream_error_code", "Errors"),
    ("unistream_option", "Configuration"),
    ("unistream_event_name", "Events"),
    ("unistream_producer_open", "Producer"),
    ("unistream_producer_dead_letters", "Producer: dead letters"),
    ("unistream_producer_next_batch", "Producer: mode manual"),
    ("unistream_batch_id", "Batches"),
    ("unistream_sink_free", "Sinks"),
    ("unistream_completion_batch", "Completions of asynchronous sinks"),
    ("unistream_report_new", "Reports"),
    ("unistream_stats_get", "Statistics"),
    ("unistream_dead_letters_open", "Dead letters"),
];

/// Puts a section's title above the comment of its first function.
fn with_titles(mut header: String) -> String {
    for (function, title) in SECTIONS {
        // Where the name stands on a line that is no comment.
        let name = format!("{function}(");
        let declared = |at: &usize| !header[header[..*at].rfind('\n').unwrap_or(0) + 1..].starts_with([' ', '/']);
        let declaration = header.match_indices(&name).map(|(at, _)| at).find(declared);
        let declaration = declaration.expect("a section begins with a function of the header");
        let comment = header[..declaration].rfind("/**\n").expect("every function has a comment");
        header.insert_str(comment, &format!("/* {title} {} */\n\n", "-".repeat(113 - title.len())));
    }
    header
}

/// Lines of a C comment, wrapped at the width of the rest.
fn comment(head: &str, text: &str) -> String {
    let mut lines = format!(" *   {head}");
    let mut width = lines.len();
    for word in text.split_whitespace() {
        if width + 1 + word.len() > 118 {
            lines.push_str("\n *      ");
            width = 8;
        }
        lines.push_str(&format!(" {word}"));
        width += 1 + word.len();
    }
    lines.push('\n');
    lines
}

fn preamble() -> String {
    let option = |OptionSpec { key, kind, range, default, doc }: &OptionSpec| {
        let default = if default.is_empty() { "empty" } else { default };
        comment(key, &format!("({kind}: {range}; default {default}) {doc}").replace('`', ""))
    };
    let table = |specs: &[OptionSpec]| specs.iter().map(option).collect::<String>().trim_end().to_owned();
    let sink = |kind: &&sink::Kind| {
        let said = format!("{} {}", kind.summary, kind.once).replace('`', "");
        let (first, rest) = said.split_once(' ').expect("it says something");
        let what = format!(" * {}\n{}", kind.url(), comment(first, rest));
        format!("{what}{}", table(kind.options)).trim_end().to_owned()
    };
    let sinks: Vec<_> = sink::kinds().iter().map(sink).collect();
    let counter = |(name, _, doc): (&str, u64, &str)| comment(&format!("{name:<28}"), &doc.replace('`', ""));
    let counters: String = Stats::default().counters().map(counter).collect();
    // The program without its opening comment, as it is built and run by the tests.
    let program = HELLO.lines().filter(|line| !line.starts_with("/*"));
    let hello: Vec<String> = program.map(|line| format!(" *     {line}").trim_end().to_owned()).collect();
    PREAMBLE
        .replace("@HELLO@", &hello.join("\n"))
        .replace("@OPTIONS@", &table(Options::TABLE))
        .replace("@COUNTERS@", counters.trim_end())
        .replace("@SINKS@", &sinks.join("\n *\n"))
}

fn macros() -> String {
    MACROS
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"))
}

fn header() -> String {
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Type,
        header: Some(preamble()),
        include_guard: Some("UNISTREAM_H".into()),
        autogen_warning: Some("/* Generated from the source of the library; do not edit. */".into()),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"].map(String::from).to_vec(),
        after_includes: Some(macros()),
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Doxy,
        line_length: 118,
        tab_width: 2,
        function: FunctionConfig { must_use: Some(MUST_USE.into()), ..FunctionConfig::default() },
        ..Config::default()
    };
    let bindings = Builder::new().with_config(config).with_src(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"));
    let mut bytes = Vec::new();
    bindings.generate().expect("cbindgen reads the crate").write(&mut bytes);
    with_titles(String::from_utf8(bytes).expect("a header is text"))
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/unistream.h");
    let header = header();
    if std::env::var_os("UNISTREAM_WRITE_HEADER").is_some() {
        fs::write(&path, &header).expect("the header can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let difference = header.lines().zip(committed.lines()).position(|(new, old)| new != old);
    assert!(header == committed, "include/unistream.h is stale from line {difference:?} on; run `make header`");
}

/// A function that hands out an error warns whoever ignores it: ignored, it is not noticed and never freed.
#[test]
fn no_returned_error_can_be_ignored_without_a_warning() {
    let header = header();
    let lines: Vec<&str> = header.lines().collect();
    // One that is borrowed, as the error of an event is, belongs to what it was asked of.
    let is_owned = |line: &str| line.contains("unistream_error *unistream_") && !line.starts_with("const ");
    let owned = (1..lines.len()).filter(|at| is_owned(lines[*at]));
    // The macro stands on the line, or on the one above.
    let (marked, ignorable): (Vec<usize>, Vec<usize>) =
        owned.partition(|at| lines[*at].starts_with(MUST_USE) || lines[at - 1] == MUST_USE);
    assert!(marked.len() > 30, "{marked:?}");
    let ignorable: Vec<&str> = ignorable.iter().map(|at| lines[*at]).collect();
    assert!(ignorable.is_empty(), "write #[must_use] above: {ignorable:?}");
}
