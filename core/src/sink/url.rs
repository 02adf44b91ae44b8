//! Sinks by name and text: for the command line, and for bindings that know options as keys and values.

use super::{FileSink, Framing, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{OptionSpec, Text, Value, choice, option_table};

/// The kinds of sinks that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Kinesis,
    CloudWatchLogs,
}

impl Kind {
    fn parse(name: &str) -> Result<Self> {
        match name {
            "file" => Ok(Kind::File),
            "kinesis" => Ok(Kind::Kinesis),
            "cloudwatch-logs" => Ok(Kind::CloudWatchLogs),
            _ => Err(invalid(format!("there is no kind of sink {name:?}; there are {KINDS}"))),
        }
    }
}

choice!(@value Framing: "one of lines, length-prefixed" { Lines = "lines", LengthPrefixed = "length-prefixed" });

/// The permissions of a file that is created, if they are not the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMode(pub Option<u32>);

impl FileMode {
    /// Whether a sink can go on writing to a file of that mode.
    ///
    /// # Errors
    /// `InvalidArgument` for other bits than permissions, and for a mode that keeps this user out.
    pub fn check(self) -> Result<()> {
        match self.0 {
            Some(mode) if mode & !0o777 != 0 || mode & 0o600 != 0o600 => {
                Err(invalid(format!("mode is {mode:#o}; permitted: {MODES}")))
            }
            _ => Ok(()),
        }
    }
}

const MODES: &str =
    "an octal number from 0600 to 0777 with which the owner reads and writes; empty: 0640 less the umask";

impl Value for FileMode {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Ok(FileMode(None));
        }
        let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).map(|mode| FileMode(Some(mode)));
        mode.ok().filter(|mode| mode.check().is_ok()).ok_or_else(|| MODES.into())
    }
    fn print(&self) -> String {
        self.0.map_or_else(String::new, |mode| format!("{mode:04o}"))
    }
}

option_table! {
    /// The options of a [`FileSink`] as text. [`TABLE`](Self::TABLE) describes them.
    pub struct FileOptions, setters file_setters;
    /// The file.
    path: Text = "", "a path", |v| !v.is_empty();
    /// How records stand in the file.
    framing: Framing = "lines", "lines, length-prefixed", |_| true;
    /// Sync each batch to stable storage before it counts as delivered.
    sync: bool = "false", "true, false", |_| true;
    /// The permissions of a file that is created, whatever the umask.
    mode: FileMode = "", "an octal number such as 0640; empty: 0640 less the umask", |v| v.check().is_ok();
    /// Follow symbolic links at the path, and take a file that another user may have put there.
    follow_links: bool = "false", "true, false", |_| true;
}

const KINDS: &str = "file, kinesis and cloudwatch-logs";

/// A sink from a URL.
///
/// | URL | sink |
/// |---|---|
/// | `file:events.log?sync=true&mode=0600`, `file:///var/spool/events.log` | [`FileSink`] |
/// | `kinesis://stream?region=eu-central-1` | `aws::KinesisSink`; in place of the name an ARN |
/// | `cloudwatch-logs://group/stream?create_if_missing=true` | `aws::CloudWatchLogsSink`; the last `/` divides group and stream |
///
/// What follows `?` are options of the sink, the keys and values of its table, divided by `&`. Reserved
/// characters are percent-encoded. Secrets do not belong in URLs and are refused there.
///
/// # Errors
/// `InvalidArgument` for what is not such a URL or such an option; `Unsupported` for a sink that this build
/// lacks; what the sink itself finds wrong.
pub fn from_url(url: &str) -> Result<Box<dyn Sink>> {
    // What stands behind `?` might hold a secret by mistake, so that no message repeats it.
    let shown = url.split('?').next().unwrap_or_default();
    let bad = |why: &str| invalid(format!("{shown:?} is not the URL of a sink: {why}"));
    let (scheme, rest) = url.split_once(':').ok_or_else(|| bad("it has no scheme such as kinesis:"))?;
    let kind = Kind::parse(scheme)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let decoded = |text: &str| percent_decode(text).ok_or_else(|| bad("it is not percent-encoded UTF-8"));
    let after_slashes = || place.strip_prefix("//").ok_or_else(|| bad("its scheme is not followed by //"));
    let mut options = Vec::new();
    match kind {
        Kind::File => {
            let path = match place.strip_prefix("//") {
                Some(path) if !path.starts_with('/') => return Err(bad("a path of a host that is not this one")),
                path => path.unwrap_or(place),
            };
            options.push(("path".to_owned(), decoded(path)?));
        }
        Kind::Kinesis => options.push(("stream".to_owned(), decoded(after_slashes()?)?)),
        Kind::CloudWatchLogs => {
            let (group, stream) = after_slashes()?.rsplit_once('/').ok_or_else(|| bad("it names no log stream"))?;
            options.push(("group".to_owned(), decoded(group)?));
            options.push(("stream".to_owned(), decoded(stream)?));
        }
    }
    let named = options.len();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| bad("an option has no value"))?;
        let (key, value) = (decoded(key)?, decoded(value)?);
        if options[..named].iter().any(|(known, _)| *known == key) {
            return Err(bad("an option repeats what the URL has named"));
        }
        if table(kind)?.iter().any(|spec| spec.key == key && spec.kind == "secret") {
            return Err(invalid(format!("a secret such as {key} does not belong in a URL; others can see it")));
        }
        options.push((key, value));
    }
    make(kind, options.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// A sink by the name of its kind and its options as text: `file`, `kinesis`, `cloudwatch-logs`.
///
/// # Errors
/// `InvalidArgument` for an unknown kind or option; `Unsupported` for a sink that this build lacks; what the sink
/// itself finds wrong.
pub fn from_options<'a>(kind: &str, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Box<dyn Sink>> {
    make(Kind::parse(kind)?, options.into_iter())
}

/// The options that [`from_options`] takes for a kind of sink.
///
/// # Errors
/// `InvalidArgument` for an unknown kind; `Unsupported` for a sink that this build lacks.
pub fn options_of(kind: &str) -> Result<&'static [OptionSpec]> {
    table(Kind::parse(kind)?)
}

fn table(kind: Kind) -> Result<&'static [OptionSpec]> {
    match kind {
        Kind::File => Ok(FileOptions::TABLE),
        #[cfg(feature = "aws")]
        Kind::Kinesis => Ok(super::aws::KinesisOptions::TABLE),
        #[cfg(feature = "aws")]
        Kind::CloudWatchLogs => Ok(super::aws::CloudWatchLogsOptions::TABLE),
        #[cfg(not(feature = "aws"))]
        Kind::Kinesis | Kind::CloudWatchLogs => Err(lacking()),
    }
}

fn make<'a>(kind: Kind, mut options: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Box<dyn Sink>> {
    #[cfg(feature = "aws")]
    use super::aws::{CloudWatchLogsSink, KinesisSink};
    Ok(match kind {
        Kind::File => {
            let mut file = FileOptions::default();
            options.try_for_each(|(key, value)| file.set(key, value))?;
            file.check_ranges()?;
            Box::new(FileSink::of_options(&file)?)
        }
        #[cfg(feature = "aws")]
        Kind::Kinesis => Box::new(options.try_fold(KinesisSink::builder(""), |b, (k, v)| b.set(k, v))?.build()?),
        #[cfg(feature = "aws")]
        Kind::CloudWatchLogs => {
            Box::new(options.try_fold(CloudWatchLogsSink::builder("", ""), |b, (k, v)| b.set(k, v))?.build()?)
        }
        #[cfg(not(feature = "aws"))]
        Kind::Kinesis | Kind::CloudWatchLogs => return Err(lacking()),
    })
}

#[cfg(not(feature = "aws"))]
fn lacking() -> Error {
    let message = "this build of unistream has no AWS sinks: it was built without the cargo feature \"aws\"";
    Error::new(ErrorKind::Unsupported, message)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(url: &str) -> Error {
        from_url(url).err().unwrap_or_else(|| panic!("{url} was taken"))
    }

    #[test]
    fn what_is_no_url_of_a_sink_is_refused() {
        for bad in [
            "",
            "kinesis",
            "kinesis:stream",
            "kafka://topic",
            "kinesis://s?region",
            "kinesis://%zz",
            "kinesis://%ff",
            "cloudwatch-logs://group",
            "cloudwatch-logs://g/s?group=other",
            "file:",
            "file://host/path",
            "file:a?framing=xml",
        ] {
            assert_eq!(error_of(bad).kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn percent_encoding() {
        assert_eq!(percent_decode("a%2Fb%C3%A4+").unwrap(), "a/bä+");
        assert_eq!(percent_decode("%"), None);
        assert_eq!(percent_decode("%4"), None);
        assert_eq!(percent_decode("%C3"), None);
    }

    #[test]
    fn urls_of_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("with space?.log");
        let encoded = path.to_str().unwrap().replace(' ', "%20").replace('?', "%3F");
        let name = format!("file:{}", path.display());
        for url in [format!("file:{encoded}?sync=true"), format!("file://{encoded}?framing=length-prefixed")] {
            assert_eq!(from_url(&url).unwrap().name(), name);
        }
        assert!(path.exists());
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_build_without_the_feature_says_what_is_missing() {
        for url in ["kinesis://s", "kinesis://s?region=eu-west-1", "cloudwatch-logs://g/s"] {
            let error = error_of(url);
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("cargo feature \"aws\""), "{error}");
        }
        assert_eq!(options_of("kinesis").unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(from_options("kinesis", [("stream", "s")]).err().unwrap().kind(), ErrorKind::Unsupported);
    }

    #[cfg(feature = "aws")]
    #[test]
    fn urls_of_aws_sinks() {
        let name = |url: &str| from_url(url).map(|sink| sink.name().into_owned()).unwrap();
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks";
        assert_eq!(name("kinesis://clicks?region=eu-west-1&ordered=true"), "kinesis:clicks");
        assert_eq!(name(&format!("kinesis://{arn}")), "kinesis:clicks");
        assert_eq!(name("cloudwatch-logs://g/s?region=eu-west-1"), "cloudwatch-logs:g/s");
        let url = "cloudwatch-logs:///app/web/2024%2F01?region=eu-west-1&endpoint_url=http%3A%2F%2F127.0.0.1:1";
        assert_eq!(name(url), "cloudwatch-logs:/app/web/2024/01");
        assert!(error_of("kinesis://s?region=eu-west-1&colour=red").message().contains("partition_key"));
        assert!(error_of("kinesis://s?region=eu-west-1&timeout=0").message().contains("timeout"));
    }

    #[cfg(feature = "aws")]
    #[test]
    fn secrets_do_not_belong_in_urls() {
        let error = error_of("kinesis://s?region=eu-west-1&access_key_id=a&secret_access_key=hush");
        assert!(error.message().contains("access_key_id") && !error.message().contains("hush"), "{error}");
        let options = [("stream", "s"), ("region", "eu-west-1"), ("access_key_id", "a"), ("secret_access_key", "b")];
        assert_eq!(from_options("kinesis", options).unwrap().name(), "kinesis:s");
        assert!(from_options("kinesis", options[..3].iter().copied()).is_err(), "one half of a key");
        let keys: Vec<_> = options_of("cloudwatch-logs").unwrap().iter().map(|spec| spec.key).collect();
        assert!(keys.starts_with(&["group", "stream", "create_if_missing", "region"]), "{keys:?}");
    }
}
