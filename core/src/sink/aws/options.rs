//! The options that every sink of AWS has.

/// Declares the options of a sink: its own, then those that say how to connect.
macro_rules! aws_options {
    ($(#[$meta:meta])* pub struct $name:ident, setters $setters:ident; $($rows:tt)+) => {
        $crate::option_table::option_table! {
            $(#[$meta])* pub struct $name, setters $setters;
            $($rows)+
            /// The region; empty: that of the ARN, the environment or the profile.
            region: Text = "", "a region such as eu-central-1, or empty", |_| true;
            /// Where to send instead of the region's own endpoint, such as an emulator or a VPC endpoint.
            endpoint_url: Text = "", "a URL such as http://127.0.0.1:4567, or empty", |_| true;
            /// The profile of the shared configuration files; empty: that of `AWS_PROFILE`, or `default`.
            profile: Text = "", "the name of a profile, or empty", |_| true;
            /// The id of the access key to sign with; empty: credentials are looked for where the AWS tools do.
            access_key_id: Secret = "", "an access key id, or empty", |_| true;
            /// The secret access key, together with `access_key_id`.
            secret_access_key: Secret = "", "a secret access key, or empty", |_| true;
            /// The session token of temporary keys, together with `access_key_id`.
            session_token: Secret = "", "a session token, or empty", |_| true;
            /// Use the endpoint that is validated under FIPS 140.
            use_fips: bool = "false", "true, false", |_| true;
            /// Use the endpoint that is reached by IPv6 too.
            use_dualstack: bool = "false", "true, false", |_| true;
            /// A file of PEM certificates to trust instead of Mozilla's authorities.
            ca_bundle: Text = "", "a path, or empty", |_| true;
            /// Read variables and the files that they or the home directory name: regions, endpoints, profiles,
            /// credentials, proxies, authorities. Without it the options alone count, and the instance's metadata
            /// service. A program that is setuid, setgid or has capabilities of its file never reads them.
            use_environment: bool = "true", "true, false", |_| true;
            /// The longest time to connect, TLS included.
            connect_timeout: Duration = "5", "0.01 to 600",
                |v| (Duration::from_millis(10)..=Duration::from_secs(600)).contains(v);
            /// The longest time of one call, from connecting to the last byte of the answer.
            timeout: Duration = "30", "0.01 to 600",
                |v| (Duration::from_millis(10)..=Duration::from_secs(600)).contains(v);
        }
    };
}
pub(super) use aws_options;
