//! Every kind of sinks, by name: those of this crate, and those that the program or its plug-ins register.

use std::borrow::Cow;
use std::sync::{OnceLock, PoisonError, RwLock};

use super::aws::{cloudwatch_logs, kinesis};
use super::kind::{Constructor, Kind};
use super::url::SinkUrl;
use super::{Sink, file, http, kafka, nats, null, postgres, redis, renewable};
use crate::error::{Error, ErrorKind, Result};
use crate::option_table::unknown;
use crate::secret::Secret;

/// The sinks of this crate, in the order of the documentation. A new sink is a folder here beside, its `mod` in `mod.rs`,
/// and a line in this list.
static SINKS: &[&Kind] = &[
    &file::KIND,
    &null::KIND,
    &http::KIND,
    &kinesis::KIND,
    &cloudwatch_logs::KIND,
    &kafka::KIND,
    &nats::KIND,
    &redis::KIND,
    &postgres::KIND,
];

/// Those of others. Each lives as long as the process.
static REGISTERED: RwLock<Vec<&'static Kind>> = RwLock::new(Vec::new());

/// Who is asked for a scheme that is not in the lists.
static FINDER: OnceLock<Box<Finder>> = OnceLock::new();

/// The key and the value of an option.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

type Finder = dyn Fn(&str) -> Result<()> + Send + Sync;

/// Opens a sink by a URL or by the name of its kind, and by options as text.
///
/// | URL | sink |
/// |---|---|
/// | `file:events.log?sync=true&mode=0600`, `file:///var/spool/events.log` | [`FileSink`](super::FileSink) |
/// | `null:` | [`NullSink`](super::NullSink) |
/// | `https://host/path?body=json-array` | `http::HttpSink`; `preset=elastic` and others speak to known services |
/// | `kinesis://stream?region=eu-central-1` | `aws::KinesisSink`; in place of the name an ARN |
/// | `cloudwatch-logs://group/stream?create_if_missing=true` | `aws::CloudWatchLogsSink`; the last `/` divides group and stream |
/// | `kafka://host:9092,host2:9092/topic` | `kafka::KafkaSink` |
/// | `nats://host:4222,host/subject?creds_file=user.creds` | `nats::NatsSink` |
/// | `redis://host/0/stream?max_len=1000000`, `rediss://a,b/0/stream?cluster=true` | `redis::RedisSink` |
/// | `postgres://user@host:5432/database/table` | `postgres::PostgresSink` |
///
/// What follows `?` are options of the sink, the keys and values of its table, divided by `&`. Reserved characters are
/// percent-encoded. Secrets do not belong in URLs, where others see them, and are refused there; `options` takes them. An
/// option that is given twice, in whatever place, is refused.
///
/// ```
/// use unistream::sink;
/// # let path = std::env::temp_dir().join(format!("unistream-doc-open-{}", std::process::id()));
/// # let path = path.to_str().unwrap();
/// sink::open("file", &[("path", path), ("sync", "true")])?;
/// sink::open(&format!("file:{path}?sync=true"), &[("mode", "0600")])?;
/// # for end in ["", ".unistream"] { std::fs::remove_file(format!("{path}{end}")).unwrap(); }
/// # Ok::<(), unistream::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for an unknown kind, for what is no URL of it, and for an option that it does not take;
/// `Unsupported` for a kind that this build lacks; what the sink itself finds wrong.
pub fn open(url_or_kind: &str, options: &[(&str, &str)]) -> Result<Box<dyn Sink>> {
    let (kind, options) = resolve(url_or_kind, options)?;
    let make = constructor(kind)?;
    let options: Vec<(String, Secret)> =
        options.into_iter().map(|(key, value)| (key.into_owned(), Secret::from(&*value))).collect();
    renewable(move || {
        let options: Vec<_> = options.iter().map(|(key, value)| (&**key, value.reveal())).collect();
        make(&options)
    })
}

/// The kind and the options that [`open`] would make a sink of: those of the URL's place, of its query, and `options`, which
/// are not copied, since secrets may be among them.
///
/// # Errors
/// Those of [`open`], but for what only the sink itself finds wrong.
pub fn resolve<'a>(url_or_kind: &str, options: &[(&'a str, &'a str)]) -> Result<(&'static Kind, Vec<Pair<'a>>)> {
    let url = SinkUrl::split(url_or_kind);
    let kind = kind(url.as_ref().map_or(url_or_kind, |url| url.scheme))?;
    // Before anything else is found wrong: a build with the feature may think otherwise of it.
    constructor(kind)?;
    let named = url.map_or_else(|| Ok(Vec::new()), |url| url.options(kind))?;
    let mut named: Vec<Pair<'a>> = named.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    named.extend(options.iter().map(|(key, value)| (Cow::Borrowed(*key), Cow::Borrowed(*value))));
    for (place, (key, _)) in named.iter().enumerate() {
        if !kind.takes_any && !kind.options.iter().any(|spec| spec.key == *key) {
            let none = || invalid(format!("there is no option {key:?}; the sink {} takes none", kind.scheme));
            return Err(if kind.options.is_empty() { none() } else { unknown(key, kind.options) });
        }
        if named[..place].iter().any(|(before, _)| before == key) {
            return Err(invalid(format!("option {key} is given twice")));
        }
    }
    Ok((kind, named))
}

/// The kind of this name.
///
/// # Errors
/// `InvalidArgument` if there is none.
pub fn kind(scheme: &str) -> Result<&'static Kind> {
    if let Some(known) = known(scheme) {
        return Ok(known);
    }
    if let Some(find) = FINDER.get() {
        find(scheme)?;
        if let Some(found) = known(scheme) {
            return Ok(found);
        }
    }
    let kinds: Vec<_> = kinds().iter().map(|kind| kind.scheme).collect();
    let (last, others) = kinds.split_last().expect("the crate has sinks");
    let kinds = format!("{} and {last}", others.join(", "));
    Err(invalid(format!("there is no kind of sink {scheme:?}; there are {kinds}")))
}

/// Every kind that is known, also those that this build lacks: the crate's own, then the registered ones.
pub fn kinds() -> Vec<&'static Kind> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    SINKS.iter().chain(registered.iter()).copied().collect()
}

/// Makes a kind of sinks known to the whole process, for as long as it runs: [`open`] finds it from then on.
///
/// # Errors
/// `InvalidArgument` for a scheme that is no scheme, and for one that is taken.
pub fn register(kind: Kind) -> Result<&'static Kind> {
    register_as(kind.scheme, |_| kind)
}

/// The same for a kind that is made at run time: `make` is called only if the name is free, and may therefore leak what
/// the kind is made of. It must not use the registry.
///
/// # Errors
/// As of [`register`].
pub fn register_as(scheme: &str, make: impl FnOnce(&'static str) -> Kind) -> Result<&'static Kind> {
    let follows = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(follows) {
        let form = "small letters, digits, '+', '-' and '.', beginning with a letter";
        return Err(invalid(format!("{scheme:?} is not the scheme of a sink: {form}")));
    }
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if SINKS.iter().chain(registered.iter()).any(|known| is_called(known, scheme)) {
        return Err(invalid(format!("there is a kind of sink {scheme:?} already")));
    }
    let scheme = Box::leak(Box::from(scheme));
    let kind: &'static Kind = Box::leak(Box::new(Kind { scheme, ..make(scheme) }));
    registered.push(kind);
    Ok(kind)
}

/// Sets who is asked for a scheme that nobody has registered, such as a loader of plug-ins. It [registers](register) the
/// kind if it finds one. It may be asked by several threads at once, and must not ask for the same scheme itself.
///
/// # Errors
/// `InvalidArgument` if it was set before.
pub fn set_finder(find: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Result<()> {
    FINDER.set(Box::new(find)).map_err(|_| invalid("there is a finder of sinks already".into()))
}

/// The table of all kinds, in Markdown: the index of their pages.
pub fn index() -> String {
    let mut page = String::from("| sink | what it is | once | cargo feature |\n|---|---|---|---|\n");
    for Kind { scheme, summary, once, feature, .. } in kinds() {
        let feature = if feature.is_empty() { String::new() } else { format!("`{feature}`") };
        page.push_str(&format!("| [{scheme}]({scheme}.md) | {summary} | {once} | {feature} |\n"));
    }
    page
}

fn known(scheme: &str) -> Option<&'static Kind> {
    kinds().into_iter().find(|kind| is_called(kind, scheme))
}

fn is_called(kind: &Kind, scheme: &str) -> bool {
    kind.scheme == scheme || kind.aliases.contains(&scheme)
}

fn constructor(kind: &Kind) -> Result<&'static Constructor> {
    kind.open.ok_or_else(|| {
        let Kind { scheme, feature, .. } = kind;
        let missing = format!("this build of unistream has no sink {scheme}: it lacks the cargo feature {feature:?}");
        Error::new(ErrorKind::Unsupported, missing)
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(url: &str) -> Error {
        open(url, &[]).err().unwrap_or_else(|| panic!("{url} was taken"))
    }

    #[test]
    fn what_is_no_url_of_a_sink_is_refused() {
        for bad in [
            "",
            "kinesis",
            "carrier-pigeon",
            "carrier-pigeon://roof",
            "file:",
            "file://host/path",
            "file:a?framing=xml",
            "file:a?path=b",
            "file:a?sync",
            "file:a?sync=true&sync=true",
            "file:%zz",
            "file:%ff",
            "null:something",
            "null:?a=b",
        ] {
            let kind = error_of(bad).kind();
            let lacks = cfg!(not(feature = "aws")) && bad == "kinesis";
            let expected = if lacks { ErrorKind::Unsupported } else { ErrorKind::InvalidArgument };
            assert_eq!(kind, expected, "{bad}");
        }
        let unknown = error_of("carrier-pigeon:");
        let named = SINKS.iter().all(|kind| unknown.message().contains(kind.scheme));
        assert!(named, "{unknown}");
        assert!(!error_of("file://host/path?mode=hush").message().contains("hush"));
    }

    #[test]
    fn urls_of_files() {
        let directory = tempfile::tempdir().unwrap();
        // The space at its end is part of the name.
        let path = directory.path().join("with space?.log ");
        let encoded = path.to_str().unwrap().replace(' ', "%20").replace('?', "%3F");
        let name = format!("file:{}", path.display());
        for url in [format!("file:{encoded}?sync=true"), format!("file://{encoded}?framing=length-prefixed")] {
            assert_eq!(open(&url, &[("mode", " 0600 ")]).unwrap().name(), name);
        }
        assert_eq!(open("file", &[("path", path.to_str().unwrap())]).unwrap().name(), name);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    /// Wherever the two come from: URL and URL, URL and option, option and option.
    #[test]
    fn an_option_given_twice_is_refused() {
        let twice = |url: &str, options: &[(&str, &str)]| open(url, options).err().unwrap().message().to_owned();
        for (url, options) in [
            ("file:/a?sync=true&sync=true", &[][..]),
            ("file:/a?path=b", &[]),
            ("file:/a", &[("path", "b")]),
            ("file:/a?sync=true", &[("sync", "true")]),
            ("file", &[("path", "a"), ("path", "a")]),
        ] {
            assert!(twice(url, options).contains("is given twice"), "{url} {options:?}");
        }
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_build_without_the_feature_says_what_is_missing() {
        for url in ["kinesis://s", "kinesis://s?region=eu-west-1", "cloudwatch-logs://g/s", "kinesis"] {
            let error = error_of(url);
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("cargo feature \"aws\""), "{error}");
        }
        assert!(kind("kinesis").unwrap().open.is_none());
    }

    #[cfg(feature = "aws")]
    #[test]
    fn urls_of_aws_sinks() {
        let name = |url: &str| open(url, &[]).map(|sink| sink.name().into_owned()).unwrap();
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks";
        assert_eq!(name("kinesis://clicks?region=eu-west-1&ordered=true"), "kinesis:clicks");
        assert_eq!(name(&format!("kinesis://{arn}")), "kinesis:clicks");
        assert_eq!(name("cloudwatch-logs://g/s?region=eu-west-1"), "cloudwatch-logs:g/s");
        let url = "cloudwatch-logs:///app/web/2024%2F01?region=eu-west-1&endpoint_url=http%3A%2F%2F127.0.0.1:1";
        assert_eq!(name(url), "cloudwatch-logs:/app/web/2024/01");
        for bad in [
            "kinesis:stream",
            "kinesis://s?region",
            "kinesis://%zz",
            "kinesis://%ff",
            "cloudwatch-logs://group",
            "cloudwatch-logs://g/s?group=other",
        ] {
            assert_eq!(error_of(bad).kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert!(error_of("kinesis://s?region=eu-west-1&colour=red").message().contains("partition_key"));
        assert!(error_of("kinesis://s?region=eu-west-1&timeout=0").message().contains("timeout"));
    }

    #[cfg(feature = "aws")]
    #[test]
    fn secrets_do_not_belong_in_urls() {
        let error = error_of("kinesis://s?region=eu-west-1&access_key_id=a&secret_access_key=hush");
        assert!(error.message().contains("access_key_id") && !error.message().contains("hush"), "{error}");
        let keys = [("access_key_id", "a"), ("secret_access_key", "b")];
        let with = |keys| open("kinesis://s?region=eu-west-1", keys);
        assert_eq!(with(&keys).unwrap().name(), "kinesis:s");
        assert!(with(&keys[..1]).is_err(), "one half of a key");
    }
}
