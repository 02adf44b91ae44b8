//! The shared configuration files of the AWS tools. Reads files but never the network.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::sink::net::environment::Environment;
use crate::sink::net::invalid;
use crate::sink::net::secret_file::read_text;

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

    /// A profile of files with these contents.
    #[cfg(test)]
    pub(super) fn of_texts(config: &str, credentials: &str, name: &str) -> Self {
        let mut profiles = Profiles::default();
        profiles.add(config, false);
        profiles.add(credentials, true);
        Profile { name: name.into(), profiles }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(config: &str, credentials: &str, name: &str) -> Profile {
        Profile::of_texts(config, credentials, name)
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
}
