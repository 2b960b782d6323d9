//! The handshake as an attacker does it: section 3 of `docs/protocol.md` by hand, with every
//! secret at hand.

use anyhow::{Context, Result, ensure};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::{Digest, Sha256};
use spake2::{Ed25519Group as Curve, Group};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

pub type Scalar = <Curve as Group>::Scalar;
pub type Point = <Curve as Group>::Element;

/// Which side of the protocol is played; the byte is that of its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Sender = 0x41,
    Receiver = 0x42,
}

pub type Hello = [u8; 75];

/// The version that both sides speak.
pub const VERSION: u16 = 2;

/// What the receiver calls itself here.
pub const ID: [u8; 16] = *b"a scripted peer.";

/// The secrets of one connection, and the hello that goes with them.
pub struct Own {
    pub side: Side,
    pub secret: [u8; 32],
    pub scalar: Scalar,
    pub hello: Hello,
}

impl Own {
    /// An honest side's.
    pub fn new(side: Side, token: &str) -> Self {
        Self::with(side, |scalar| element(side, scalar, &password(token)))
    }

    /// With another SPAKE2 element, made from the scalar.
    pub fn with(side: Side, element: impl FnOnce(&Scalar) -> [u8; 32]) -> Self {
        let mut rng = rand::rng();
        let secret: [u8; 32] = rng.random();
        let scalar = Scalar::from_bytes_mod_order_wide(&rng.random());
        let public = x25519(secret, X25519_BASEPOINT_BYTES);
        let hello = hello(VERSION, &public, side as u8, &element(&scalar));
        Self { side, secret, scalar, hello }
    }

    /// All keys, if the other side knows this token as well.
    pub fn keys(&self, theirs: &Hello, token: &str) -> Result<Keys> {
        let k = compress(&(self.unblinded(theirs, &password(token))? * self.scalar));
        Ok(self.keys_with(theirs, token, &k))
    }

    /// The other side's element without its password.
    pub fn unblinded(&self, theirs: &Hello, w: &Scalar) -> Result<Point> {
        let blind = match self.side {
            Side::Sender => Curve::const_n(),
            Side::Receiver => Curve::const_m(),
        };
        let element = Curve::bytes_to_element(&theirs[43..]).context("not a point")?;
        Ok(element - blind * w)
    }

    /// What X25519 yields.
    pub fn shared(&self, theirs: &Hello) -> [u8; 32] {
        x25519(self.secret, theirs[10..42].try_into().unwrap())
    }

    /// All keys for a guess at what SPAKE2 yields.
    pub fn keys_with(&self, theirs: &Hello, token: &str, k: &[u8]) -> Keys {
        self.keys_from(self.shared(theirs), theirs, token, k)
    }

    /// The same, for what X25519 has yielded.
    pub fn keys_from(&self, shared: [u8; 32], theirs: &Hello, token: &str, k: &[u8]) -> Keys {
        let (first, second) = match self.side {
            Side::Sender => (&self.hello, theirs),
            Side::Receiver => (theirs, &self.hello),
        };
        let pake = sha256(&[
            &sha256(&[token.as_bytes()]),
            &sha256(&[b"transfer sender"]),
            &sha256(&[b"transfer receiver"]),
            &first[43..],
            &second[43..],
            k,
        ]);
        let transcript = sha256(&[first, second]);
        Keys::new(token, &[shared, pake].concat(), &transcript)
    }
}

/// The 75 bytes, whatever is in them.
pub fn hello(version: u16, key: &[u8; 32], side: u8, element: &[u8; 32]) -> Hello {
    let parts: [&[u8]; 5] = [b"TRANSFER", &version.to_be_bytes(), key, &[side], element];
    parts.concat().try_into().unwrap()
}

/// An honest SPAKE2 element.
pub fn element(side: Side, scalar: &Scalar, w: &Scalar) -> [u8; 32] {
    let blind = match side {
        Side::Sender => Curve::const_m(),
        Side::Receiver => Curve::const_n(),
    };
    compress(&(Curve::basepoint_mult(scalar) + blind * w))
}

pub fn compress(point: &Point) -> [u8; 32] {
    Curve::element_to_bytes(point).try_into().unwrap()
}

/// The token as a scalar.
pub fn password(token: &str) -> Scalar {
    let mut okm = [0; 48];
    Hkdf::<Sha256>::new(Some(b""), token.as_bytes()).expand(b"SPAKE2 pw", &mut okm).unwrap();
    let mut wide = [0; 64];
    wide[..48].copy_from_slice(&okm);
    wide[..48].reverse();
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// What both sides derive; a liar keeps all of it.
pub struct Keys {
    pub transcript: [u8; 32],
    prk: [u8; 32],
    ikm: Vec<u8>,
}

impl Keys {
    pub fn new(token: &str, ikm: &[u8], transcript: &[u8; 32]) -> Self {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(token.as_bytes()), ikm);
        Self { transcript: *transcript, prk: prk.into(), ikm: ikm.into() }
    }

    pub fn derived(&self, label: &str) -> [u8; 32] {
        let hkdf = Hkdf::<Sha256>::from_prk(&self.prk).unwrap();
        let mut key = [0; 32];
        let info: [&[u8]; 3] = [b"transfer v2", &self.transcript, label.as_bytes()];
        hkdf.expand_multi_info(&info, &mut key).unwrap();
        key
    }

    /// The receiver's confirmation, its id included.
    pub fn confirmation(&self) -> [u8; 48] {
        let proof = hmac(&self.derived("receiver confirms"), &[&self.transcript, &ID]);
        [&ID[..], &proof].concat().try_into().unwrap()
    }

    /// The sender's answer.
    pub fn answer(&self, verdict: u8) -> [u8; 34] {
        let proof = hmac(&self.derived("sender confirms"), &[&self.transcript, &[verdict]]);
        [&[verdict, 0][..], &proof].concat().try_into().unwrap()
    }

    /// Whether this confirmation was made with the same keys.
    pub fn confirmed_by(&self, confirmation: &[u8; 48]) -> bool {
        let (id, proof) = confirmation.split_at(16);
        hmac(&self.derived("receiver confirms"), &[&self.transcript, id]) == proof
    }

    /// Everything that must never be seen.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let labels =
            ["sender to receiver", "receiver to sender", "receiver confirms", "sender confirms"];
        let derived = labels.iter().map(|label| self.derived(label).to_vec());
        let (shared, pake) = self.ikm.split_at(32);
        derived.chain([self.prk.to_vec(), shared.to_vec(), pake.to_vec()]).collect()
    }
}

pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// That a peer's hello is what section 3 says; it is the first thing that every script sees.
pub fn ensure_hello(hello: &Hello, side: Side) -> Result<()> {
    ensure!(hello.starts_with(b"TRANSFER\0\x02"), "not a hello: {hello:x?}");
    ensure!(hello[42] == side as u8, "the hello of the wrong side: {hello:x?}");
    Ok(())
}
