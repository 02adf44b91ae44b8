//! A sink of somebody else's: registered from outside of the crate, and reached by name, by URL and in the pages.

use std::sync::{Arc, Mutex};

use unistream::sink::{self, Kind, Place};
use unistream::{Batch, ErrorKind, OptionSpec, Producer, Report, Result, SendError, Sink};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Pigeon {
    roof: String,
    loft: String,
}

impl Sink for Pigeon {
    fn send(&self, batch: &Batch) -> std::result::Result<Report, SendError> {
        let letters = batch.iter().map(|record| String::from_utf8_lossy(record.data).into_owned());
        SEEN.lock().unwrap().extend(letters.map(|letter| format!("{} {} {letter}", self.roof, self.loft)));
        Ok(Report::delivered())
    }
}

fn open(options: &[(&str, &str)]) -> Result<Box<dyn Sink>> {
    let option = |key: &str| options.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned());
    Ok(Box::new(Pigeon { roof: option("roof").unwrap(), loft: option("loft").unwrap_or_else(|| "north".into()) }))
}

const fn option(key: &'static str, kind: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec { key, kind, range: "text", default: "", doc }
}

fn pigeon() -> Kind {
    const OPTIONS: &[OptionSpec] = &[
        option("roof", "text", "Where it flies to."),
        option("loft", "text", "Where it comes from."),
        option("ring", "secret", "What it proves itself by."),
    ];
    let mut kind = Kind::new("pigeon", &open);
    kind.summary = "Letters by carrier pigeon.";
    kind.page = "Feed it.\n\n## Weather\n\nIt waits for better.\n";
    kind.options = OPTIONS;
    kind.place = Place::Names(&["roof"]);
    kind
}

#[test]
fn a_registered_sink_is_reached_in_every_way() {
    assert_eq!(sink::open("pigeon://roof", &[]).err().unwrap().kind(), ErrorKind::InvalidArgument);
    sink::register(pigeon()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ways: [(&str, &[(&str, &str)]); 3] = [
        ("pigeon", &[("roof", "a")]),
        ("pigeon://b%20b?loft=south", &[]),
        ("pigeon://c", &[("loft", "east"), ("ring", "hush")]),
    ];
    for (number, (url, options)) in ways.into_iter().enumerate() {
        let sink = sink::open(url, options).unwrap();
        let producer = Producer::builder(directory.path().join(number.to_string())).open(sink).unwrap();
        producer.put("coo").unwrap();
        producer.close(std::time::Duration::from_secs(30)).unwrap();
    }
    assert_eq!(*SEEN.lock().unwrap(), ["a north coo", "b b south coo", "c east coo"]);

    // What holds for the crate's own sinks holds for it.
    for refused in ["pigeon://a?colour=red", "pigeon://a?roof=b", "pigeon://a?loft=b&loft=c", "pigeon:a"] {
        assert_eq!(sink::open(refused, &[]).err().unwrap().kind(), ErrorKind::InvalidArgument, "{refused}");
    }
    let secret = sink::open("pigeon://a?ring=hush", &[]).err().unwrap();
    assert!(secret.message().contains("does not belong in a URL"), "{secret}");
    assert!(!secret.message().contains("hush"));
    assert!(sink::register(pigeon()).unwrap_err().message().contains("already"));
    for scheme in ["", "Pigeon", "1a", "a b", "a:"] {
        let refused = sink::register_as(scheme, |_| unreachable!("it is no scheme")).unwrap_err();
        assert!(refused.message().contains("is not the scheme"), "{refused}");
    }

    let page = sink::kind("pigeon").unwrap().reference();
    let places = ["# pigeon", "carrier pigeon", "Feed it.", "`pigeon://ROOF`", "| `ring` | secret |", "## Weather"];
    let found: Vec<_> = places.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"))).collect();
    assert!(found.is_sorted(), "{page}");
    assert!(sink::index().contains("| [pigeon](pigeon.md) | Letters by carrier pigeon. | At least once. |  |"));
}

/// Whoever comes first registers it; the others find it there.
#[test]
fn a_finder_is_asked_for_what_nobody_has_registered() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    sink::set_finder(move |scheme| {
        log.lock().unwrap().push(scheme.to_owned());
        match scheme {
            // As loaders do that are asked by two threads at once.
            "found" => {
                sink::register(Kind::new("found", &|_| Ok(Box::new(unistream::NullSink)))).map(|_| ()).or(Ok(()))
            }
            "broken" => Err(unistream::Error::new(ErrorKind::Io, "the plug-in cannot be read")),
            _ => Ok(()),
        }
    })
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(sink::open("found:", &[]).unwrap().name(), "null"));
        }
    });
    let before = asked.lock().unwrap().len();
    sink::open("found:", &[]).unwrap();
    assert_eq!(asked.lock().unwrap().len(), before, "it is known now");
    assert_eq!(sink::open("broken:", &[]).err().unwrap().message(), "the plug-in cannot be read");
    assert_eq!(sink::open("unknown:", &[]).err().unwrap().kind(), ErrorKind::InvalidArgument);
    assert!(sink::set_finder(|_| Ok(())).is_err());
}
