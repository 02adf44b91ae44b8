//! `docs/sinks` is what the registry makes of the sinks' folders.

use std::fs;
use std::path::Path;

use unistream::sink;

const NOTE: &str = "<!-- Made of the sinks' folders in core/src/sink; edit those and run this with UPDATE_DOCS=1: \
                    cargo test -p unistream --test sink_pages -->\n";

const INDEX: &str = "# Sinks

Any of them is opened by its URL or its name: Rust `sink::open`, C `unistream_sink_open()`, Python `unistream.sink()`, the command
line's URL. What follows `?` are its options, divided by `&`, with reserved characters percent-encoded. Secrets are refused
in URLs, which others can see; they are passed as options of the call. A build without a sink's cargo feature says which is missing.

Sinks of your own join by `sink::register` in Rust, `unistream.register_sink` or an entry point of the group `unistream.sinks` in
Python, `unistream_sink_register()` in C; or are passed to a producer as they are: a closure, a callable, callbacks.
";

#[test]
fn the_committed_pages_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sinks");
    let mut pages = vec![("README.md".to_owned(), format!("{NOTE}{INDEX}\n{}", sink::index()))];
    for kind in sink::kinds() {
        pages.push((format!("{}.md", kind.scheme), format!("{NOTE}{}", kind.reference())));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let mut expected: Vec<_> = pages.iter().map(|(name, _)| name.clone()).collect();
    let mut found: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "docs/sinks has a page for each sink, and the index");
    for (name, page) in pages {
        let committed = fs::read_to_string(folder.join(&name)).unwrap();
        assert!(committed == page, "docs/sinks/{name} is out of date: run this test with UPDATE_DOCS=1");
    }
}

/// What is written by hand in each constant keeps to its form.
#[test]
fn every_sink_says_what_it_is() {
    for kind in sink::kinds() {
        let scheme = kind.scheme;
        assert!(kind.summary.ends_with('.') && !kind.summary.contains('\n'), "{scheme}: {:?}", kind.summary);
        let once = kind.once;
        assert!(once.starts_with("Exactly once") || once.starts_with("At least once"), "{scheme}: {once:?}");
        assert!(!kind.page.trim().is_empty() && !kind.page.contains("# Options"), "{scheme}");
        let placed: &[&str] = match &kind.place {
            sink::Place::File(option) | sink::Place::Verbatim(option) | sink::Place::Url(option) => {
                std::slice::from_ref(option)
            }
            sink::Place::Names(options) => options,
            _ => &[],
        };
        for option in placed {
            assert!(kind.options.iter().any(|spec| spec.key == *option), "{scheme}: its URL fills {option}");
        }
    }
}
