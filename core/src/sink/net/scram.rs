//! SCRAM (RFC 5802, RFC 7677): each side proves that it knows a password, which neither says.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::encode::hex;
use crate::secret::Secret;

/// A server that asks for more rounds than this wants us busy, and not safe. RFC 7677 asks for 4,096.
const MOST_ROUNDS: u32 = 1_000_000;

/// The hash that an exchange is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScramHash {
    Sha256,
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "for the sinks whose servers know it"))]
    Sha512,
}

/// An exchange, from what we say first to what proves that the server knows the password, too.
pub(crate) struct Scram {
    hash: ScramHash,
    secret: Secret,
    /// Our first word without its head.
    bare: String,
    nonce: String,
    /// What the server has to say at the end.
    expected: Option<Vec<u8>>,
}

impl Scram {
    /// Begins an exchange.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn begin(hash: ScramHash, user: &str, secret: Secret) -> Result<Self, String> {
        let mut nonce = [0; 24];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut nonce).map_err(|_| "the system has no random numbers")?;
        Ok(Scram::begin_with(hash, user, secret, hex(&nonce)))
    }

    pub(crate) fn begin_with(hash: ScramHash, user: &str, secret: Secret, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram { hash, secret, bare: format!("n={user},r={nonce}"), nonce, expected: None }
    }

    /// What we say first.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// What we say to the server's challenge.
    ///
    /// # Errors
    /// It is no challenge to us.
    pub(crate) fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String> {
        let (said, expected) = match self.hash {
            ScramHash::Sha256 => self.prove::<Sha256Mac>(challenge)?,
            ScramHash::Sha512 => self.prove::<Sha512Mac>(challenge)?,
        };
        self.expected = Some(expected);
        Ok(said)
    }

    /// Looks at the server's last word.
    ///
    /// # Errors
    /// It does not prove that the server knows the password.
    pub(crate) fn finish(&mut self, word: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(word).unwrap_or_default();
        let proof = text.split(',').find_map(|field| field.strip_prefix("v="));
        let proof = proof.and_then(|proof| BASE64_STANDARD.decode(proof).ok());
        match (proof, self.expected.take()) {
            (Some(proof), Some(expected)) if proof == expected => Ok(()),
            _ => Err(format!("the server does not prove that it knows the password: {}", shown(word))),
        }
    }

    /// Our last word, and what the server has to say then.
    fn prove<H: Hash>(&self, challenge: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let wrong = || format!("the server's challenge is none of SCRAM: {}", shown(challenge));
        let challenge = std::str::from_utf8(challenge).map_err(|_| wrong())?;
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name)).ok_or_else(wrong);
        let (both, salt) = (field("r=")?, BASE64_STANDARD.decode(field("s=")?).map_err(|_| wrong())?);
        let rounds: u32 = field("i=")?.parse().map_err(|_| wrong())?;
        let is_ours = both.starts_with(&self.nonce) && both.len() > self.nonce.len();
        if !is_ours || !(1..=MOST_ROUNDS).contains(&rounds) {
            return Err(wrong());
        }
        let salted = salted_password::<H>(self.secret.reveal().as_bytes(), &salt, rounds);
        let client_key = H::mac(&salted, &[b"Client Key"]);
        let without_proof = format!("c=biws,r={both}");
        let message: [&[u8]; 5] = [self.bare.as_bytes(), b",", challenge.as_bytes(), b",", without_proof.as_bytes()];
        let signature = H::mac(&H::hash(&client_key), &message);
        let proof: Vec<u8> = client_key.iter().zip(signature.iter()).map(|(key, signature)| key ^ signature).collect();
        let server_key = H::mac(&salted, &[b"Server Key"]);
        let said = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
        Ok((said.into_bytes(), H::mac(&server_key, &message).to_vec()))
    }
}

/// What a server said, as a message can repeat it.
pub(crate) fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The two functions of which SCRAM is made.
trait Hash {
    fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>>;
    fn hash(bytes: &[u8]) -> Zeroizing<Vec<u8>>;
}

struct Sha256Mac;
struct Sha512Mac;

macro_rules! hash {
    ($name:ident, $digest:ty) => {
        impl Hash for $name {
            fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
                let mut mac = Hmac::<$digest>::new_from_slice(key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|part| mac.update(part));
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
            fn hash(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
                Zeroizing::new(<$digest>::digest(bytes).to_vec())
            }
        }
    };
}
hash!(Sha256Mac, Sha256);
hash!(Sha512Mac, Sha512);

/// PBKDF2 of one block.
fn salted_password<H: Hash>(password: &[u8], salt: &[u8], rounds: u32) -> Zeroizing<Vec<u8>> {
    let mut last = H::mac(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last.clone();
    for _ in 1..rounds {
        last = H::mac(password, &[&last]);
        sum.iter_mut().zip(last.iter()).for_each(|(sum, last)| *sum ^= last);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn scram_as_in_its_rfc() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut exchange = Scram::begin_with(ScramHash::Sha256, "user", Secret::new("pencil"), nonce);
        assert_eq!(exchange.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let said = exchange.answer(challenge).unwrap();
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(exchange.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_none() {
        let begin = || Scram::begin_with(ScramHash::Sha512, "a=b,c", Secret::new("hush-hush"), "abc".to_owned());
        assert_eq!(begin().first(), "n,,n=a=3Db=2Cc,r=abc");
        for bad in
            ["", "r=abc,s=AA==,i=1", "r=xyz1,s=AA==,i=1", "r=abcd,s=AA==,i=0", "r=abcd,s=AA==,i=4000000000", "e=no"]
        {
            assert!(begin().answer(bad.as_bytes()).is_err(), "{bad}");
        }
        let mut exchange = begin();
        exchange.answer(b"r=abcd,s=AA==,i=2").unwrap();
        for last in [&b"v=AAAA"[..], b"v=", b"", b"\xff", b"e=invalid-proof"] {
            let error = exchange.finish(last).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
        assert!(begin().finish(b"v=AAAA").is_err(), "without a challenge");
    }
}
