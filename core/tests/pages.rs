//! What the pages show in Rust and C stands in programs that are built and run: here, and in `tests/c/run.sh`.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../examples/hello.rs"]
#[allow(unreachable_pub)]
mod hello;
#[path = "../examples/own_sink.rs"]
#[allow(unreachable_pub)]
mod own_sink;

/// All pages, with what they contain.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![root.join("README.md")];
    for folder in ["docs", "docs/how-to"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "md")));
    }
    found.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// The programs of a folder, each as its lines without indentation: a page may show a part of one.
fn programs(folder: &str) -> Vec<Vec<String>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    fs::read_dir(folder).unwrap().map(|entry| lines(&fs::read_to_string(entry.unwrap().path()).unwrap())).collect()
}

/// The lines without what a page may lay out in another way, and without what an example has for a test that calls it: a
/// `pub`, and the documentation that this asks for.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("pub ").to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with("///")).collect()
}

/// What a page shows in a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mut rest = page;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once(&format!("```{language}\n")) {
        let (block, behind) = after.split_once("```").unwrap();
        found.push(block);
        rest = behind;
    }
    found
}

#[test]
fn what_the_pages_show_is_part_of_an_example() {
    for (language, folder, at_least) in [("rust", "core/examples", 3), ("c", "ffi/examples", 3)] {
        let programs = programs(folder);
        let mut seen = 0;
        for (name, page) in pages() {
            for block in blocks(&page, language) {
                let wanted = lines(block);
                let is_part = |program: &Vec<String>| program.windows(wanted.len()).any(|part| part == wanted);
                assert!(!wanted.is_empty() && programs.iter().any(is_part), "{name}: no file of {folder} has\n{block}");
                seen += 1;
            }
        }
        assert!(seen >= at_least, "{seen} blocks of {language}");
    }
}

/// A name that a page has of the C ABI is in the header.
#[test]
fn the_functions_that_the_pages_name_are_in_the_header() {
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/unistream.h")).unwrap();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut seen = 0;
    for (name, page) in pages() {
        for part in page.split("unistream_").skip(1) {
            let Some((rest, _)) = part.split_once('(').filter(|(rest, _)| rest.chars().all(is_name)) else { continue };
            assert!(header.contains(&format!("unistream_{rest}(")), "{name}: there is no unistream_{rest}()");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} names");
}

/// Nothing else in this file looks at the directory that the process works in.
#[test]
fn the_examples_that_the_pages_show_work() {
    let folder = tempfile::tempdir().unwrap();
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let (one, two) = (hello::main(), own_sink::main());
    std::env::set_current_dir(before).unwrap();
    one.unwrap();
    two.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("events.log")).unwrap(), "hello\n");
    assert_eq!(fs::read_to_string(folder.path().join("received.txt")).unwrap(), "one\ntwo\n");
}
