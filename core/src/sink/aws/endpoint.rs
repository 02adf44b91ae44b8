//! Where calls go, and the region that they are signed for.

use super::profile::Profile;
use super::service::Service;
use crate::error::Result;
use crate::sink::net::environment::Environment;
use crate::sink::net::invalid;

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
            option || variable_flag(environment, variable).unwrap_or_else(in_profile)
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

/// A flag in a variable. "true" in any case sets it, anything else clears it, as in the AWS tools.
fn variable_flag(environment: &Environment, name: &str) -> Option<bool> {
    environment.get(name).map(|value| value.eq_ignore_ascii_case("true"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const OPTIONS: EndpointOptions<'_> =
        EndpointOptions { region: "", endpoint_url: "", use_fips: false, use_dualstack: false };

    fn resolve(options: &EndpointOptions<'_>, environment: &Environment, profile: &Profile) -> Result<String> {
        Endpoint::resolve(Service::Kinesis, options, environment, profile).map(|endpoint| endpoint.url)
    }

    fn profile(config: &str, credentials: &str, name: &str) -> Profile {
        Profile::of_texts(config, credentials, name)
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
}
