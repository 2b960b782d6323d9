//! Session keys, one type per purpose, so that a key cannot be used for the wrong direction.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of every key and MAC here.
pub const KEY_LEN: usize = 32;

/// Says which side of a session this is; the sender is the side that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Offers files.
    Sender,
    /// Takes them.
    Receiver,
}

impl Role {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }

    /// The other side.
    pub fn peer(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

/// Seals the records of the direction this side writes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealKey(pub(super) [u8; KEY_LEN]);

/// Opens the records of the direction this side reads.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OpenKey(pub(super) [u8; KEY_LEN]);

/// What a confirmed handshake yields.
pub struct SessionKeys {
    /// For what this side writes.
    pub seal: SealKey,
    /// For what this side reads.
    pub open: OpenKey,
    /// The same 16 bytes on both sides; public, it names the session in logs and lock files.
    pub session_id: [u8; 16],
}

/// Everything HKDF gives, before either side has proved that it knows the token.
pub(super) struct Derived {
    to_receiver: Zeroizing<[u8; KEY_LEN]>,
    to_sender: Zeroizing<[u8; KEY_LEN]>,
    receiver_confirms: Hmac<Sha256>,
    sender_confirms: Hmac<Sha256>,
    session_id: [u8; 16],
}

impl Derived {
    /// HKDF-SHA256 (RFC 5869) with the salt, input and info of `docs/protocol.md`, step 4.
    /// Nothing, should the library refuse a length; it does not refuse these.
    pub(super) fn new(
        version: u16,
        token: &[u8],
        ikm: &[u8],
        transcript: &[u8; 32],
    ) -> Option<Self> {
        let hkdf = Hkdf::<Sha256>::new(Some(token), ikm);
        let name = format!("transfer v{version}");
        let expand = |label: &[u8], okm: &mut [u8]| {
            hkdf.expand_multi_info(&[name.as_bytes(), transcript, label], okm).ok()
        };
        let key = |label: &[u8]| {
            let mut okm = Zeroizing::new([0u8; KEY_LEN]);
            expand(label, okm.as_mut()).map(|()| okm)
        };
        let mac = |label: &[u8]| Hmac::<Sha256>::new_from_slice(key(label)?.as_ref()).ok();
        let mut session_id = [0u8; 16];
        expand(b"session id", &mut session_id)?;
        Some(Self {
            to_receiver: key(b"sender to receiver")?,
            to_sender: key(b"receiver to sender")?,
            receiver_confirms: mac(b"receiver confirms")?,
            sender_confirms: mac(b"sender confirms")?,
            session_id,
        })
    }

    /// HMAC-SHA256 by which `role` proves that it derived the same keys.
    pub(super) fn confirmation(&self, role: Role, what: &[u8]) -> Hmac<Sha256> {
        let mut mac = match role {
            Role::Sender => self.sender_confirms.clone(),
            Role::Receiver => self.receiver_confirms.clone(),
        };
        mac.update(what);
        mac
    }

    pub(super) fn into_session(self, role: Role) -> SessionKeys {
        let (seal, open) = match role {
            Role::Sender => (self.to_receiver, self.to_sender),
            Role::Receiver => (self.to_sender, self.to_receiver),
        };
        SessionKeys { seal: SealKey(*seal), open: OpenKey(*open), session_id: self.session_id }
    }
}
