//! Certificates for tests: an authority, and what it vouches for.
#![allow(dead_code)] // Each user takes its own part of it.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

pub(crate) struct Authority {
    root: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// What an authority says of somebody: as text, the certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Which certificates of clients a server asks for.
#[derive(Clone, Copy)]
pub(crate) enum Ask<'a> {
    Nothing,
    /// Those of an authority; who has none may go on.
    For(&'a Authority),
    /// Those of an authority, and nobody goes on without one.
    Demand(&'a Authority),
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        Authority { root, issuer: rcgen::Issuer::new(authority, key) }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    /// A certificate for a client.
    pub(crate) fn client(&self) -> Issued {
        let (certificate, key) = self.issue(&["client"]);
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The configuration of a server with a certificate for these names.
    pub(crate) fn server(&self, names: &[&str], ask: Ask<'_>) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(names);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = |clients: &Authority| {
            let mut roots = RootCertStore::empty();
            roots.add(clients.root.der().clone()).unwrap();
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        };
        let verifier = match ask {
            Ask::Nothing => WebPkiClientVerifier::no_client_auth(),
            Ask::For(clients) => verifier(clients).allow_unauthenticated().build().unwrap(),
            Ask::Demand(clients) => verifier(clients).build().unwrap(),
        };
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], private.into())
            .unwrap();
        Arc::new(config)
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        (rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }
}
