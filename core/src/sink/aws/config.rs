//! Where the region, the endpoint and the other settings come from: options, `AWS_*` variables, the shared
//! configuration files. Reads files but never the network.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::service::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::is_secure_execution;

/// The variables and the home directory that configure a sink, in place of the process's own.
///
/// A sink reads them when it is built, and the files that they name again whenever its credentials are refreshed. The
/// default is [`process`](Self::process); the option `use_environment = false` is [`empty`](Self::empty).
#[derive(Clone, Default)]
pub struct Environment {
    variables: Arc<HashMap<String, Zeroizing<String>>>,
    home: Option<PathBuf>,
}

impl Environment {
    /// The process's variables and home directory as they are now. Variables that are not UTF-8 are left out.
    ///
    /// In a program that has more rights than who started it (setuid, setgid, capabilities of its file: the kernel's
    /// `AT_SECURE`), it is [`empty`](Self::empty): whoever started it must not choose what is read, run and trusted
    /// with those rights.
    pub fn process() -> Self {
        if is_secure_execution() {
            return Environment::empty();
        }
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, Zeroizing::new(value.into_string().ok()?)))
        };
        let variables = std::env::vars_os().filter_map(text).collect();
        Environment { variables: Arc::new(variables), home: std::env::home_dir() }
    }

    /// No variables and no home directory: a sink so built depends on its options alone.
    pub fn empty() -> Self {
        Environment::default()
    }

    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.variables).insert(name.into(), Zeroizing::new(value.into()));
        self
    }

    /// Sets the home directory, where `~/.aws` is looked for.
    #[must_use]
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// A variable, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A variable about proxies by its conventional lower-case name, else by its upper-case name, as curl reads them.
    /// `HTTP_PROXY` is none: a CGI program finds there what a client sent as the header `Proxy`.
    pub(super) fn get_any_case(&self, name: &str) -> Option<&str> {
        self.get(&name.to_ascii_lowercase()).or_else(|| self.get(name).filter(|_| name != "HTTP_PROXY"))
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn home_dir(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    fn path(&self, variable: &str, default: &str) -> Option<PathBuf> {
        let path = self.get(variable).unwrap_or(default);
        match path.strip_prefix("~/") {
            Some(rest) => Some(self.home.as_ref()?.join(rest)),
            None => Some(path.into()),
        }
    }

    /// Every flag of the AWS tools is "true" in any case; anything else is false.
    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl fmt::Debug for Environment {
    /// Names no value: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("home", &self.home).finish_non_exhaustive()
    }
}

type Section = HashMap<String, Zeroizing<String>>;

/// The shared configuration files, as far as a sink needs them.
///
/// The format: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>. A key of a nested block is
/// kept as `block.key`.
#[derive(Clone, Default)]
pub(crate) struct Profiles {
    sections: Arc<HashMap<String, Section>>,
}

impl Profiles {
    /// Reads `~/.aws/config` and `~/.aws/credentials` or what the variables name instead; a file that is not
    /// there is empty. A value in the credentials file goes before one in the configuration file.
    pub(super) fn load(environment: &Environment) -> Result<Self> {
        let mut profiles = Profiles::default();
        for (variable, default, credentials) in
            [("AWS_CONFIG_FILE", "~/.aws/config", false), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", true)]
        {
            let Some(path) = environment.path(variable, default) else { continue };
            match read_text(&path) {
                Ok(text) => profiles.add(&text, credentials),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(format_args!("cannot read {}", path.display()), error)),
            }
        }
        Ok(profiles)
    }

    /// Sections are `[profile name]`, `[services name]` and `[sso-session name]` in the configuration file and
    /// plain `[name]` of profiles in the credentials file.
    pub(crate) fn add(&mut self, text: &str, credentials: bool) {
        let sections = Arc::make_mut(&mut self.sections);
        let mut section: Option<&mut Section> = None;
        let mut block = String::new();
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
                let name = if credentials || name == "default" { format!("profile {name}") } else { name };
                section = Some(sections.entry(name).or_default());
                block.clear();
                continue;
            }
            let (Some(section), Some((key, value))) = (section.as_mut(), trimmed.split_once('=')) else { continue };
            let key = key.trim().to_ascii_lowercase();
            // A comment may follow a value after white space.
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default().trim();
            let nested = line.starts_with([' ', '\t']);
            if nested && !block.is_empty() {
                section.insert(format!("{block}.{key}"), Zeroizing::new(value.into()));
            } else {
                block = if value.is_empty() { key.clone() } else { String::new() };
                section.insert(key, Zeroizing::new(value.into()));
            }
        }
    }

    /// Section, key and value of all that was read.
    #[cfg(feature = "torture")]
    pub(super) fn entries(&self) -> std::collections::BTreeSet<(String, String, String)> {
        let of = |(name, section): (&String, &Section)| {
            let entry = |(key, value): (&String, &Zeroizing<String>)| (name.clone(), key.clone(), value.to_string());
            section.iter().map(entry).collect::<Vec<_>>()
        };
        self.sections.iter().flat_map(of).collect()
    }

    fn section(&self, kind: &str, name: &str) -> Option<&Section> {
        self.sections.get(&format!("{kind} {name}"))
    }
}

/// One profile of the shared files, by name.
#[derive(Clone, Default)]
pub(super) struct Profile {
    pub(super) name: String,
    profiles: Profiles,
}

impl Profile {
    /// The profile that the option, else `AWS_PROFILE`, names; else `default`. One that is named must exist.
    pub(super) fn load(option: &str, environment: &Environment) -> Result<Self> {
        let profiles = Profiles::load(environment)?;
        let named = Some(option).filter(|name| !name.is_empty()).or_else(|| environment.get("AWS_PROFILE"));
        let name = named.unwrap_or("default").to_owned();
        if named.is_some() && profiles.section("profile", &name).is_none() {
            return Err(invalid(format!("there is no profile {name:?} in the AWS configuration files")));
        }
        Ok(Profile { name, profiles })
    }

    /// Another profile of the same files.
    pub(super) fn sibling(&self, name: &str) -> Option<Profile> {
        self.profiles.section("profile", name)?;
        Some(Profile { name: name.into(), profiles: self.profiles.clone() })
    }

    /// A value of the profile, unless it is empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.value("profile", &self.name, key)
    }

    /// A value of the section of another kind that the profile names by that kind, as `sso_session = name`.
    pub(super) fn get_via(&self, reference: &str, kind: &str, key: &str) -> Option<&str> {
        self.value(kind, self.get(reference)?, key)
    }

    fn value(&self, kind: &str, name: &str, key: &str) -> Option<&str> {
        self.profiles.section(kind, name)?.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What the options say about the endpoint; empty and `None` are "not said".
pub(super) struct EndpointOptions<'a> {
    pub(super) region: &'a str,
    pub(super) endpoint_url: &'a str,
    pub(super) use_fips: bool,
    pub(super) use_dualstack: bool,
}

/// Where to send and what region to sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) region: String,
}

impl Endpoint {
    /// The rules: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>. The option goes
    /// before the variable for the service, the variable for all, the profile's `services` section and the
    /// profile's own `endpoint_url`; only then the service's own endpoint of the region.
    pub(super) fn resolve(
        service: Service,
        options: &EndpointOptions<'_>,
        environment: &Environment,
        profile: &Profile,
    ) -> Result<Self> {
        let region = Some(options.region)
            .filter(|region| !region.is_empty())
            .or_else(|| environment.get("AWS_REGION"))
            .or_else(|| environment.get("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"))
            .ok_or_else(|| invalid("no AWS region: set the option region, AWS_REGION or the profile's region"))?;
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !region.chars().all(valid) || region.len() > 63 || region.starts_with('-') || region.ends_with('-') {
            return Err(invalid(format!("{region:?} is not the name of an AWS region")));
        }
        let flag = |option: bool, variable: &str, key: &str| {
            let in_profile = || profile.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
            option || environment.flag(variable).unwrap_or_else(in_profile)
        };
        let fips = flag(options.use_fips, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
        let dualstack = flag(options.use_dualstack, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
        let ignored = flag(false, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
        let configured = || {
            let key = service.config_key();
            environment
                .get(&format!("AWS_ENDPOINT_URL_{}", key.to_ascii_uppercase()))
                .or_else(|| environment.get("AWS_ENDPOINT_URL"))
                .or_else(|| profile.get_via("services", "services", &format!("{key}.endpoint_url")))
                .or_else(|| profile.get("endpoint_url"))
                .filter(|_| !ignored)
        };
        let custom = Some(options.endpoint_url).filter(|url| !url.is_empty()).or_else(configured);
        let url = match custom {
            Some(_) if fips || dualstack => {
                return Err(invalid("an endpoint URL of one's own excludes use_fips and use_dualstack"));
            }
            Some(url) => check_url(url)?,
            None => regional_url(service.signing_name(), region, fips, dualstack)?,
        };
        Ok(Endpoint { url, region: region.into() })
    }
}

/// A partition of AWS: the regions whose names begin so, their DNS suffix and that of their dual-stack
/// endpoints. The data: `partitions.json`, which all AWS SDKs share.
const PARTITIONS: [(&str, &str, Option<&str>); 8] = [
    ("cn-", "amazonaws.com.cn", Some("api.amazonwebservices.com.cn")),
    ("us-gov-", "amazonaws.com", Some("api.aws")),
    ("eusc-", "amazonaws.eu", Some("api.amazonwebservices.eu")),
    ("us-isob-", "sc2s.sgov.gov", None),
    ("us-isof-", "csp.hci.ic.gov", None),
    ("us-iso-", "c2s.ic.gov", None),
    ("eu-isoe-", "cloud.adc-e.uk", None),
    ("", "amazonaws.com", Some("api.aws")),
];

/// The service's endpoint of a region, by the endpoint rule sets that the AWS SDKs share.
pub(super) fn regional_url(service: &str, region: &str, fips: bool, dualstack: bool) -> Result<String> {
    let (prefix, plain, dual) =
        PARTITIONS.iter().find(|(prefix, ..)| region.starts_with(prefix)).expect("\"\" is last");
    let suffix = match (dualstack, dual) {
        (false, _) => plain,
        (true, Some(dual)) => dual,
        (true, None) => return Err(invalid(format!("region {region} has no dual-stack endpoints"))),
    };
    // The plain endpoints of GovCloud are the FIPS ones.
    let fips = if fips && (dualstack || *prefix != "us-gov-") { "-fips" } else { "" };
    Ok(format!("https://{service}{fips}.{region}.{suffix}"))
}

/// An endpoint URL is a scheme, a host, perhaps a port and a path; it must hold no secret since messages show it.
fn check_url(url: &str) -> Result<String> {
    let bad = |why: &str| invalid(format!("endpoint_url must be like https://host or http://127.0.0.1:4567: {why}"));
    let uri: ureq::http::Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("its scheme is neither http nor https"));
    }
    let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("it must hold no user name or password"));
    }
    if uri.query().is_some() {
        return Err(bad("it has a query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The text of a file that may hold keys. A file is as long as configuration is: 1 MiB at most.
pub(super) fn read_text(path: &Path) -> std::io::Result<Zeroizing<String>> {
    const MAX: u64 = 1024 * 1024;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    let wrong = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    // As good as no file: /dev/null is how many say so.
    if metadata.file_type().is_char_device() {
        return Ok(Zeroizing::default());
    }
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file"));
    }
    if metadata.len() > MAX {
        return Err(wrong("it is larger than 1 MiB"));
    }
    // Of its whole size from the start: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    file.take(metadata.len()).read_to_string(&mut text)?;
    Ok(text)
}

/// The kind that every wrong option of a sink has.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: EndpointOptions<'_> =
        EndpointOptions { region: "", endpoint_url: "", use_fips: false, use_dualstack: false };

    fn profile(config: &str, credentials: &str, name: &str) -> Profile {
        let mut profiles = Profiles::default();
        profiles.add(config, false);
        profiles.add(credentials, true);
        Profile { name: name.into(), profiles }
    }

    fn resolve(options: &EndpointOptions<'_>, environment: &Environment, profile: &Profile) -> Result<String> {
        Endpoint::resolve(Service::Kinesis, options, environment, profile).map(|endpoint| endpoint.url)
    }

    /// Compared with what botocore 1.44 answers for each of these: plain, dual-stack, FIPS, both.
    #[test]
    fn regional_endpoints_of_every_partition() {
        let rows: [(&str, [Option<&str>; 4]); 10] = [
            (
                "us-east-1",
                [
                    Some("kinesis.us-east-1.amazonaws.com"),
                    Some("kinesis.us-east-1.api.aws"),
                    Some("kinesis-fips.us-east-1.amazonaws.com"),
                    Some("kinesis-fips.us-east-1.api.aws"),
                ],
            ),
            (
                "ap-southeast-3",
                [
                    Some("kinesis.ap-southeast-3.amazonaws.com"),
                    Some("kinesis.ap-southeast-3.api.aws"),
                    Some("kinesis-fips.ap-southeast-3.amazonaws.com"),
                    Some("kinesis-fips.ap-southeast-3.api.aws"),
                ],
            ),
            (
                "cn-north-1",
                [
                    Some("kinesis.cn-north-1.amazonaws.com.cn"),
                    Some("kinesis.cn-north-1.api.amazonwebservices.com.cn"),
                    Some("kinesis-fips.cn-north-1.amazonaws.com.cn"),
                    Some("kinesis-fips.cn-north-1.api.amazonwebservices.com.cn"),
                ],
            ),
            (
                "us-gov-east-1",
                [
                    Some("kinesis.us-gov-east-1.amazonaws.com"),
                    Some("kinesis.us-gov-east-1.api.aws"),
                    Some("kinesis.us-gov-east-1.amazonaws.com"),
                    Some("kinesis-fips.us-gov-east-1.api.aws"),
                ],
            ),
            (
                "us-gov-west-1",
                [
                    Some("kinesis.us-gov-west-1.amazonaws.com"),
                    Some("kinesis.us-gov-west-1.api.aws"),
                    Some("kinesis.us-gov-west-1.amazonaws.com"),
                    Some("kinesis-fips.us-gov-west-1.api.aws"),
                ],
            ),
            (
                "eusc-de-east-1",
                [
                    Some("kinesis.eusc-de-east-1.amazonaws.eu"),
                    Some("kinesis.eusc-de-east-1.api.amazonwebservices.eu"),
                    Some("kinesis-fips.eusc-de-east-1.amazonaws.eu"),
                    Some("kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu"),
                ],
            ),
            (
                "us-iso-east-1",
                [Some("kinesis.us-iso-east-1.c2s.ic.gov"), None, Some("kinesis-fips.us-iso-east-1.c2s.ic.gov"), None],
            ),
            (
                "us-isob-east-1",
                [
                    Some("kinesis.us-isob-east-1.sc2s.sgov.gov"),
                    None,
                    Some("kinesis-fips.us-isob-east-1.sc2s.sgov.gov"),
                    None,
                ],
            ),
            (
                "us-isof-south-1",
                [
                    Some("kinesis.us-isof-south-1.csp.hci.ic.gov"),
                    None,
                    Some("kinesis-fips.us-isof-south-1.csp.hci.ic.gov"),
                    None,
                ],
            ),
            (
                "eu-isoe-west-1",
                [
                    Some("kinesis.eu-isoe-west-1.cloud.adc-e.uk"),
                    None,
                    Some("kinesis-fips.eu-isoe-west-1.cloud.adc-e.uk"),
                    None,
                ],
            ),
        ];
        for (region, hosts) in rows {
            let flags = [(false, false), (false, true), (true, false), (true, true)];
            for ((use_fips, use_dualstack), host) in flags.into_iter().zip(hosts) {
                for service in [Service::Kinesis, Service::CloudWatchLogs] {
                    let options = EndpointOptions { region, endpoint_url: "", use_fips, use_dualstack };
                    let endpoint =
                        Endpoint::resolve(service, &options, &Environment::empty(), &Profile::default()).ok();
                    let host = host.map(|host| host.replacen("kinesis", service.signing_name(), 1));
                    assert_eq!(endpoint.map(|endpoint| endpoint.url), host.map(|host| format!("https://{host}")));
                }
            }
        }
    }

    #[test]
    fn the_region_comes_from_option_then_variables_then_profile() {
        let region = |options: &EndpointOptions<'_>, environment: &Environment, profile: &Profile| {
            Endpoint::resolve(Service::Kinesis, options, environment, profile).map(|endpoint| endpoint.region)
        };
        let profile = profile("[default]\nregion = eu-west-3\n", "", "default");
        let nothing = Environment::empty();
        let default = nothing.clone().var("AWS_DEFAULT_REGION", "eu-west-2");
        let both = default.clone().var("AWS_REGION", "eu-west-1");
        assert_eq!(
            region(&EndpointOptions { region: "eu-north-1", ..OPTIONS }, &both, &profile).unwrap(),
            "eu-north-1"
        );
        assert_eq!(region(&OPTIONS, &both, &profile).unwrap(), "eu-west-1");
        assert_eq!(region(&OPTIONS, &default, &profile).unwrap(), "eu-west-2");
        assert_eq!(region(&OPTIONS, &nothing.clone().var("AWS_REGION", ""), &profile).unwrap(), "eu-west-3");
        let none = region(&OPTIONS, &nothing, &Profile::default()).unwrap_err();
        assert!(none.message().contains("AWS_REGION"), "{none}");
        for bad in ["us east", "evil.example/", "US-EAST-1", "-a", "a-"] {
            assert!(region(&EndpointOptions { region: bad, ..OPTIONS }, &nothing, &profile).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_endpoint_url_comes_from_the_most_specific_place() {
        let config = "
[profile dev]
region = us-east-1
endpoint_url = http://profile
services = local
[services local]
logs =
    endpoint_url = http://other-service
kinesis =
    endpoint_url = http://service-section  # why not
[profile plain]
region=us-east-1
endpoint_url = http://profile/
";
        let dev = profile(config, "", "dev");
        let plain = profile(config, "", "plain");
        let nothing = Environment::empty();
        let all = nothing.clone().var("AWS_ENDPOINT_URL", "http://all");
        let one =
            all.clone().var("AWS_ENDPOINT_URL_KINESIS", "http://one").var("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "x");
        let option = EndpointOptions { endpoint_url: "http://option", ..OPTIONS };
        assert_eq!(resolve(&option, &one, &dev).unwrap(), "http://option");
        assert_eq!(resolve(&OPTIONS, &one, &dev).unwrap(), "http://one");
        assert_eq!(resolve(&OPTIONS, &all, &dev).unwrap(), "http://all");
        assert_eq!(resolve(&OPTIONS, &nothing, &dev).unwrap(), "http://service-section");
        assert_eq!(resolve(&OPTIONS, &nothing, &plain).unwrap(), "http://profile");
        let ignore = one.var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE");
        assert_eq!(resolve(&OPTIONS, &ignore, &dev).unwrap(), "https://kinesis.us-east-1.amazonaws.com");
        assert_eq!(resolve(&option, &ignore, &dev).unwrap(), "http://option");
    }

    #[test]
    fn flags_come_from_options_variables_and_profile() {
        let on = profile("[default]\nregion=us-east-1\nuse_fips_endpoint = true\n", "", "default");
        let fips = "https://kinesis-fips.us-east-1.amazonaws.com";
        assert_eq!(resolve(&OPTIONS, &Environment::empty(), &on).unwrap(), fips);
        let off = Environment::empty().var("AWS_USE_FIPS_ENDPOINT", "false");
        assert_eq!(resolve(&OPTIONS, &off, &on).unwrap(), "https://kinesis.us-east-1.amazonaws.com");
        let dual = off.var("AWS_USE_DUALSTACK_ENDPOINT", "true");
        assert_eq!(resolve(&OPTIONS, &dual, &on).unwrap(), "https://kinesis.us-east-1.api.aws");
        let custom = EndpointOptions { endpoint_url: "http://127.0.0.1:1", ..OPTIONS };
        assert!(resolve(&custom, &Environment::empty(), &on).is_err());
        assert!(resolve(&custom, &dual, &on).is_err());
    }

    #[test]
    fn endpoint_urls_are_checked() {
        for bad in
            ["127.0.0.1:4567", "ftp://host", "http://", "http://user:secret@host", "http://host/?a=b", "http://a b"]
        {
            let error = check_url(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(check_url("http://[::1]:4567/").unwrap(), "http://[::1]:4567");
        assert_eq!(check_url("https://vpce-1.example/stage/").unwrap(), "https://vpce-1.example/stage");
    }

    #[test]
    fn profiles_are_read_from_both_files() {
        let config = "
# a comment
[default]
region = eu-west-1
[profile  two]
Region = eu-west-2 ; trailing
sso_session = corp
aws_access_key_id = from-config
s3 =
  max_concurrent_requests = 20
output = json
[sso-session corp]
sso_region = us-east-1
not a pair
";
        let credentials = "[two]\naws_access_key_id = from-credentials\naws_secret_access_key = a#b=c\n";
        let two = profile(config, credentials, "two");
        assert_eq!(two.get("region"), Some("eu-west-2"));
        assert_eq!(two.get("aws_access_key_id"), Some("from-credentials"));
        assert_eq!(two.get("aws_secret_access_key"), Some("a#b=c"));
        assert_eq!(two.get("s3.max_concurrent_requests"), Some("20"));
        assert_eq!(two.get("output"), Some("json"));
        assert_eq!(two.get_via("sso_session", "sso-session", "sso_region"), Some("us-east-1"));
        assert_eq!(two.sibling("default").unwrap().get("region"), Some("eu-west-1"));
        assert!(two.sibling("three").is_none());
    }

    #[test]
    fn a_named_profile_must_exist() {
        let nothing = Environment::empty();
        assert_eq!(Profile::load("", &nothing).unwrap().name, "default");
        assert!(Profile::load("absent", &nothing).err().unwrap().message().contains("absent"));
        assert!(Profile::load("", &nothing.var("AWS_PROFILE", "absent")).is_err());
    }

    #[test]
    fn an_environment_shows_no_values() {
        let environment = Environment::empty().var("AWS_SECRET_ACCESS_KEY", "hush");
        assert!(!format!("{environment:?}").contains("hush"));
    }
}
