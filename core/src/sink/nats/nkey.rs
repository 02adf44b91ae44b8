//! Keys of NATS: Ed25519 seeds in Base32 with a prefix and a checksum.
//! <https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth>

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::sink::net::crc16::crc16;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The kind "seed", and the kind "user" within it and before public keys.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// A user's key.
pub(super) struct UserKey(Ed25519KeyPair);

impl UserKey {
    /// # Errors
    /// What is wrong with the seed, in words without it.
    pub(super) fn of_seed(seed: &str) -> Result<Self, &'static str> {
        let bytes = decode(seed.trim()).ok_or("it is not in Base32")?;
        let (body, sum) = bytes.split_last_chunk::<2>().ok_or("it is too short")?;
        if crc16(body) != u16::from_le_bytes(*sum) {
            return Err("its checksum does not hold");
        }
        let (prefix, raw) = body.split_first_chunk::<2>().ok_or("it is too short")?;
        if prefix[0] & 0xf8 != SEED || (prefix[0] & 7) << 5 | prefix[1] >> 3 != USER {
            return Err("it is no seed of a user, which begins with SU");
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(raw).map_err(|_| "it is not as long as a seed")?;
        Ok(UserKey(pair))
    }

    /// The public key, as servers know it.
    pub(super) fn public(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.0.public_key().as_ref());
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        encode(&bytes)
    }

    /// Signs what the server asked to be signed.
    pub(super) fn sign(&self, nonce: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(nonce.as_bytes()).as_ref())
    }
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        bits = bits << 5 | value as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(ALPHABET[(bits >> count & 31) as usize].into());
        }
    }
    if count > 0 {
        text.push(ALPHABET[(bits << (5 - count) & 31) as usize].into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pair of the documentation of NATS.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_seed_is_the_users_key() {
        let key = UserKey::of_seed(&format!("{SEED}\n")).unwrap();
        assert_eq!(key.public(), PUBLIC);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(key.sign("nonce")).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key.0.public_key().as_ref());
        public.verify(b"nonce", &signature).unwrap();
    }

    #[test]
    fn what_is_no_users_seed_is_refused() {
        let of = |text: &str| UserKey::of_seed(text).err().unwrap();
        assert!(of("").contains("short"));
        assert!(of("SU!").contains("Base32"));
        assert!(of(&SEED.replace("UACS", "UACT")).contains("checksum"));
        assert!(of(PUBLIC).contains("begins with SU"));
    }
}
