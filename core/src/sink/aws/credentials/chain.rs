//! The sources of keys that the AWS tools look at, in their order.

use super::answers::{self, Answerer};
use super::fetch::{Fetch, named};
use super::{metadata, process, role, single_sign_on};
use crate::secret::Secret;
use crate::sink::aws::keys::Credentials;
use crate::sink::aws::profile::Profile;
use crate::sink::net::environment::Environment;

/// Environment, profile, web identity, container, instance.
pub(super) struct Chain {
    pub(super) fetch: Fetch,
    /// The region whose security token service is asked.
    pub(super) region: String,
}

impl Chain {
    fn environment(&self) -> &Environment {
        &self.fetch.environment
    }

    /// The first source that is configured answers; that it fails is not hidden by trying the next. A profile that is
    /// named by an option goes before keys in the environment.
    pub(super) fn ask(&self, option: &str) -> Result<Credentials, String> {
        if option.is_empty()
            && let Some(keys) = self.of_environment()?
        {
            return Ok(keys);
        }
        let profile = Profile::load(option, self.environment()).map_err(|error| error.to_string())?;
        if let Some(keys) = self.of_profile(&profile, &mut Vec::new())? {
            return Ok(keys);
        }
        let token_file = self.environment().get("AWS_WEB_IDENTITY_TOKEN_FILE");
        if let (Some(role_arn), Some(file)) = (self.environment().get("AWS_ROLE_ARN"), token_file) {
            let session = self.environment().get("AWS_ROLE_SESSION_NAME");
            return role::of_web_identity(&self.fetch, &self.region, role_arn, file, session);
        }
        if let Some(keys) = metadata::of_container(&self.fetch)? {
            return Ok(keys);
        }
        let none = "no AWS credentials: none in the environment, the profile, a web identity or a container";
        match metadata::of_instance(&self.fetch, &profile) {
            Ok(Some(keys)) => Ok(keys),
            Ok(None) => Err(format!("{none}, and the instance's metadata service is disabled")),
            Err(error) => Err(format!("{none}, and {error}")),
        }
    }

    fn of_environment(&self) -> Result<Option<Credentials>, String> {
        let get = |name: &str| self.environment().get(name);
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = get("AWS_SESSION_TOKEN").map(Secret::new).unwrap_or_default();
                Ok(Some(Credentials::new(id, Secret::new(secret)).session_token(token)))
            }
            _ => Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together".into()),
        }
    }

    /// What a profile says: a role, keys, single sign-on or a process. `visited` holds the profiles that led
    /// here by `source_profile`, against circles.
    fn of_profile(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Option<Credentials>, String> {
        let name = &profile.name;
        // A profile may be its own source: then its keys assume its role.
        let again = visited.contains(name);
        if let Some(role_arn) = profile.get("role_arn").filter(|_| !again) {
            let session = profile.get("role_session_name");
            if let Some(file) = profile.get("web_identity_token_file") {
                return role::of_web_identity(&self.fetch, &self.region, role_arn, file, session).map(Some);
            }
            visited.push(name.clone());
            let source = self.source_of_role(profile, visited)?;
            return role::of_profile(&self.fetch, &self.region, profile, role_arn, &source).map(Some);
        }
        if let (Some(id), Some(secret)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
            let token = profile.get("aws_session_token").map(Secret::new).unwrap_or_default();
            return Ok(Some(Credentials::new(id, Secret::new(secret)).session_token(token)));
        }
        if let (Some(account), Some(role)) = (profile.get("sso_account_id"), profile.get("sso_role_name")) {
            let keys = single_sign_on::ask(&self.fetch, profile, account, role);
            return keys.map(Some).map_err(named(&format!("single sign-on of profile {name}")));
        }
        if let Some(command) = profile.get("credential_process") {
            let output = process::run(command, self.environment());
            let keys = output.and_then(|output| answers::parse(Answerer::Process, &output));
            return keys.map(Some).map_err(named(&format!("the credential_process of profile {name}")));
        }
        Ok(None)
    }

    /// Who may assume the role of a profile.
    fn source_of_role(&self, profile: &Profile, visited: &mut Vec<String>) -> Result<Credentials, String> {
        let name = &profile.name;
        if profile.get("mfa_serial").is_some() {
            return Err(format!("profile {name}: nobody is there to be asked for the code of its mfa_serial"));
        }
        let source = match (profile.get("source_profile"), profile.get("credential_source")) {
            (Some(source), _) if source != name && visited.iter().any(|seen| seen == source) => {
                return Err(format!("profile {name}: source_profile {source} leads back to itself"));
            }
            (Some(source), _) => {
                let source = profile
                    .sibling(source)
                    .ok_or_else(|| format!("profile {name}: there is no source_profile {source}"))?;
                self.of_profile(&source, visited)?
            }
            (None, Some("Environment")) => self.of_environment()?,
            (None, Some("EcsContainer")) => metadata::of_container(&self.fetch)?,
            (None, Some("Ec2InstanceMetadata")) => metadata::of_instance(&self.fetch, profile)?,
            _ => return Err(format!("profile {name} has a role_arn but no source_profile or credential_source")),
        };
        source.ok_or_else(|| format!("profile {name}: the source of its role has no credentials"))
    }
}
