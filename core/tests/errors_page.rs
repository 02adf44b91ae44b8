//! The page of errors has every kind, and what it says of each is what the code says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use unistream::ErrorKind;

/// All source text below a folder, with the line breaks inside of literals taken out.
fn source(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, all);
        } else if path.extension().is_some_and(|suffix| suffix == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut parts = text.split("\\\n");
            let _ = write!(all, "{}", parts.next().unwrap());
            parts.for_each(|part| all.push_str(part.trim_start()));
        }
    }
}

#[test]
fn every_kind_has_a_section_whose_messages_are_real() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/errors.md")).unwrap();
    let mut code = String::new();
    source(&root.join("src"), &mut code);
    source(&root.join("../ffi/src"), &mut code);
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    let names: Vec<&str> = sections.iter().map(|section| section.lines().next().unwrap()).collect();
    let by_words = fs::read_to_string(root.join("../docs/troubleshooting.md")).unwrap();
    assert_eq!(names, ErrorKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>());
    for (kind, section) in ErrorKind::ALL.iter().zip(sections) {
        let lead = format!("{} in C, `{kind:?}` in Rust", *kind as i32);
        assert!(section.contains(&lead), "{kind} begins with {lead}");
        let retry = if kind.is_retryable() { "can succeed later" } else { "fails again" };
        assert!(section.contains(retry), "{kind}: {retry}");
        let says = section.split("*Says:* ").nth(1).and_then(|rest| rest.split('\n').next()).unwrap();
        let quoted: Vec<&str> = says.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty(), "{kind} quotes a message");
        for message in &quoted {
            let row = format!("| `{message}` | [{kind}](errors.md#{kind}), ", kind = kind.name());
            assert!(by_words.contains(&row), "docs/troubleshooting.md has no row {row}");
        }
        for part in quoted.iter().flat_map(|text| text.split('…')).map(str::trim).filter(|part| part.len() > 3) {
            let part = part.trim_end_matches(':');
            assert!(code.contains(part), "{kind}: no message says {part:?}");
        }
        assert!(section.contains("*Do:* "), "{kind} says what to do");
    }
}
