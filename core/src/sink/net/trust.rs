//! Whose certificates are believed.

use std::fmt;
use std::path::Path;

use rustls::RootCertStore;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::invalid;
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

    pub(super) fn tls(&self) -> TlsConfig {
        match &self.bundle {
            Some(bundle) => TlsConfig::builder().root_certs(bundle.clone()).build(),
            None => TlsConfig::default(),
        }
    }

    /// The same for `rustls` itself.
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
