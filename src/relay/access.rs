//! What is decided about a client once it has proved its key: its token, the day's bytes, whether there is
//! room; and its counting out when it is gone.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};
use sha2::{Digest, Sha256};

use super::door::{Door, Refusal, Visit};
use crate::bounds::MAX_PEM;
use crate::error::{Error, Result, shown_os};
use crate::trust::pem;
use crate::ui::RelayEvent;

/// The header in which the number of a visit comes along; one that a client sends is replaced.
pub const VISIT: &str = "x-transfer-visit";

/// Characters that a token has at least: it can be guessed at from anywhere.
const MIN_TOKEN: usize = 16;

/// Who may use the relay.
pub struct Guard {
    door: Arc<Door>,
    tokens: Option<Tokens>,
    /// The day's bytes are used up.
    closed: AtomicBool,
    clients: Mutex<HashMap<ConnectionId, Arc<Visit>>>,
    events: SyncSender<RelayEvent>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// Lets in whoever the door has room for, and who has one of the tokens if there are any.
    pub fn new(door: Arc<Door>, tokens: Option<Tokens>, events: SyncSender<RelayEvent>) -> Self {
        let (closed, clients) = (AtomicBool::new(false), Mutex::default());
        Self { door, tokens, closed, clients, events }
    }

    /// From now on nobody is let in, or everybody again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    fn decide(&self, request: &ClientRequest) -> Result<(), Refusal> {
        let number = request.headers().get(VISIT).and_then(|it| it.to_str().ok()?.parse().ok());
        let number: u64 = number.ok_or(Refusal::Slow)?;
        let decided = match &self.tokens {
            Some(tokens) if !tokens.has(request.auth_token().as_deref()) => Err(Refusal::Token),
            _ if self.closed.load(Ordering::Relaxed) => Err(Refusal::Daily),
            _ => self.door.join(number),
        };
        match decided {
            Ok((visit, address)) => {
                self.clients().insert(request.connection_id(), visit);
                self.tell(RelayEvent::Came { address });
                Ok(())
            }
            Err(why) => {
                self.door.refuse(why);
                let address = self.door.address_of(number);
                self.tell(RelayEvent::Refused { address, why: why.to_string() });
                Err(why)
            }
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Visit>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody has time to say now is left unsaid.
    fn tell(&self, event: RelayEvent) {
        let _ = self.events.try_send(event);
    }
}

impl AccessControl for Guard {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        match self.decide(request) {
            Ok(()) => Access::Allow,
            Err(why) => Access::Deny { reason: Some(why.to_string()) },
        }
    }

    fn on_disconnect(&self, _: EndpointId, connection: ConnectionId) {
        let visit = self.clients().remove(&connection);
        if let Some(visit) = visit {
            self.tell(RelayEvent::Left { address: self.door.address_of(visit.id()) });
        }
    }
}

/// The tokens that are let in, as their hashes: comparing those tells nothing of a token.
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads a file that nobody else may read: a token a line; empty lines, and those that begin with `#`,
    /// are skipped.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::error::Exit::Usage), naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &str| {
            Error::usage(format!("\"{}\" {what}", shown_os(path)))
                .hint("a token a line; `transfer token` makes one")
                .secret()
        };
        let bytes = pem::read(path, true)?;
        if bytes.len() as u64 >= MAX_PEM {
            return Err(wrong("is too long"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is no text"))?;
        let lines = text.lines().map(str::trim);
        let tokens: Vec<&str> =
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        if tokens.is_empty() {
            return Err(wrong("holds no token"));
        }
        // It travels in a header.
        if tokens.iter().any(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(wrong(
                "holds a token with a space, or another character than ASCII, in it",
            ));
        }
        if tokens.iter().any(|token| token.len() < MIN_TOKEN) {
            return Err(wrong(&format!("holds a token of fewer than {MIN_TOKEN} characters")));
        }
        Ok(Self(tokens.iter().map(|token| Sha256::digest(token).into()).collect()))
    }

    fn has(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| self.0.contains(&Sha256::digest(token).into()))
    }
}
