//! Whose certificates are believed, and which we show.

use std::path::Path;
use std::{fmt, io};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{ClientCert, PemItem, RootCerts, parse_pem};

use super::environment::Environment;
use super::{invalid, secret_file};
use crate::error::{Error, Result};

/// The authorities that may vouch for a server. The default is Mozilla's list, as it was when this was built.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    bundle: Option<RootCerts>,
}

impl Trust {
    /// The authorities of a PEM file, and no others.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `InvalidArgument` if it holds no certificate.
    pub(crate) fn load(path: &str) -> Result<Self> {
        let pem = std::fs::read(Path::new(path))
            .map_err(|error| Error::io(format_args!("cannot read the CA bundle {path}"), error))?;
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        };
        let certificates: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
        if certificates.is_empty() {
            return Err(invalid(format!("the CA bundle {path} holds no PEM certificate")));
        }
        Ok(Trust { bundle: Some(RootCerts::from(certificates)) })
    }

    /// The authorities of the file that an option names, else `SSL_CERT_FILE`, else the default.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    #[cfg_attr(
        not(any(feature = "http", feature = "kafka", feature = "nats", feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "for the sinks with this option")
    )]
    pub(crate) fn chosen(bundle: &str, environment: &Environment) -> Result<Self> {
        let bundle = Some(bundle).filter(|path| !path.is_empty()).or_else(|| environment.get("SSL_CERT_FILE"));
        bundle.map_or_else(|| Ok(Trust::default()), Trust::load)
    }

    /// In the form that TLS takes.
    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        match &self.bundle {
            Some(RootCerts::Specific(certificates)) => {
                roots.add_parsable_certificates(certificates.iter().map(|one| one.der().to_vec().into()));
            }
            _ => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        roots
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.bundle.is_some() { "a CA bundle" } else { "Mozilla's authorities" })
    }
}

/// A certificate with its private key, by which a server knows us.
#[derive(Clone)]
pub(crate) struct Identity(ClientCert);

impl Identity {
    /// The certificate and those that vouch for it, of one PEM file, and the key of another, or of the same.
    ///
    /// # Errors
    /// `Io` if a file cannot be read, `InvalidArgument` if it does not hold what it should.
    #[cfg_attr(
        not(any(feature = "http", feature = "kafka", feature = "nats", feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "for the sinks that show one")
    )]
    pub(crate) fn load(certificate: &str, key: &str) -> Result<Self> {
        let read = |path: &str| {
            secret_file::read_text(Path::new(path))
                .map_err(|error| Error::io(format_args!("cannot read the client certificate or key {path}"), error))
        };
        let chain: Vec<_> = parse_pem(read(certificate)?.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if chain.is_empty() {
            return Err(invalid(format!("{certificate} holds no PEM certificate")));
        }
        let found = parse_pem(read(key)?.as_bytes()).find_map(|item| match item {
            Ok(PemItem::PrivateKey(key)) => Some(key),
            _ => None,
        });
        let private = found.ok_or_else(|| invalid(format!("{key} holds no PEM private key that is not encrypted")))?;
        let identity = Identity(ClientCert::new_with_certs(&chain, private));
        identity.check().map_err(|why| invalid(format!("{certificate} and {key}: {why}")))?;
        Ok(identity)
    }

    /// # Errors
    /// Why no server would be shown it.
    fn check(&self) -> Result<(), String> {
        let (chain, key) = self.rustls().map_err(|error| error.to_string())?;
        let checked = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider());
        checked.map(|_| ()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "the certificate is for another key".into(),
            other => format!("no certificate and key that TLS can use: {other}"),
        })
    }

    /// What two options name: a certificate, and a key that may stand in the same file; `None` if both are empty.
    ///
    /// # Errors
    /// As of [`load`](Self::load), and for a key without a certificate.
    #[cfg_attr(
        not(any(feature = "http", feature = "kafka", feature = "nats", feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "for the sinks that show one")
    )]
    pub(crate) fn of_options(certificate: &str, key: &str) -> Result<Option<Self>> {
        match (certificate, key) {
            ("", "") => Ok(None),
            ("", _) => Err(invalid("client_key is given without client_cert")),
            (certificate, "") => Identity::load(certificate, certificate).map(Some),
            (certificate, key) => Identity::load(certificate, key).map(Some),
        }
    }

    /// The same for `rustls` itself.
    pub(super) fn rustls(&self) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = self.0.certs().iter().map(|one| one.der().to_vec().into()).collect();
        let key = PrivateKeyDer::try_from(self.0.private_key().der().to_vec()).map_err(io::Error::other)?;
        Ok((chain, key))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a client certificate")
    }
}
