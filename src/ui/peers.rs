//! Whoever is at the other end: the ticket for it, who came, who did not get in, and what becomes of a
//! connection that was lost.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dialoguer::console::{colors_enabled, colors_enabled_stderr};
use zeroize::Zeroizing;

use super::Ui;
use super::screen;
use super::words::counted;
use crate::bounds::{MAX_REFUSALS, SHOWN_REFUSALS};
use crate::connect::{Endpoint, Peer, Reach};
use crate::error::{Cause, Error, Result, reason};
use crate::shown::quoted;
use crate::standard::Out;
use crate::ticket::{COMMAND, Host, Ticket};

impl Ui {
    /// What to type on the other machine: the one line on stdout. A token that both sides have in
    /// a file of this name is not shown.
    pub fn ticket(&self, ticket: &Ticket, agreed: Option<&Path>) {
        self.say("on the other machine, run:");
        let command = command_for(ticket, agreed);
        match &self.json {
            Some(json) => {
                json.ticket(ticket, &command, agreed.is_some());
                self.show(in_bold("", &command, colors_enabled_stderr()));
            }
            None => {
                let mut command = in_bold("", &command, colors_enabled());
                command.push('\n');
                let mut stdout = Out::new();
                // In one piece, which passes by stdout's buffer.
                let shown = stdout.write_all(command.as_bytes()).and_then(|()| stdout.flush());
                // Nobody needs it who has agreed on the token.
                if let Err(error) = shown
                    && agreed.is_none()
                {
                    self.warn(&format!("cannot write to stdout: {}", reason(&error)));
                    screen::secret(in_bold("", command.trim_end(), false));
                }
            }
        }
        // Wiped before anybody can know that it was shown.
        drop(command);
        self.say("waiting for the receiver; Ctrl-C stops");
    }

    /// What to type on the other machine, to pair the two: the one line on stdout.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn pair_ticket(&self, ticket: &Ticket, is_announced: bool) -> Result<()> {
        self.say("on the other machine, run:");
        let command = ticket.command();
        let typed = command.strip_prefix(COMMAND).unwrap_or_default();
        let line = Zeroizing::new(format!("transfer pair {typed}\n"));
        self.print(&line)?;
        drop((command, line));
        if is_announced {
            self.say("in this local network the words behind the last colon will do");
        }
        self.say("waiting for the other machine; Ctrl-C stops");
        Ok(())
    }

    /// Another ticket for the same offer.
    pub fn ticket_elsewhere(&self, ticket: &Ticket, from: &str, agreed: Option<&Path>) {
        let command = command_for(ticket, agreed);
        self.show(in_bold(&format!("from {from}: "), &command, colors_enabled_stderr()));
        self.tell(|json| json.ticket(ticket, &command, agreed.is_some()));
    }

    /// A receiver is here before the questions are answered; it waits so long for the answers.
    pub fn comes_before_answers(&self, name: &str, patience: Duration) {
        self.note(&format!(
            "{name} is here: what is not answered within {} s counts as no",
            patience.as_secs()
        ));
    }

    /// The receiver waits for a sender that is not there yet.
    pub fn awaits(&self, name: &str, why: &Error, patience: Duration) {
        let patience = humantime::format_duration(patience);
        self.note(&format!("waiting up to {patience} for {name}: {why}"));
    }

    /// A receiver has proved that it knows the token.
    pub fn receiver_connected(&self, peer: &Peer, session: uuid::Uuid) {
        self.say(&format!("{} is connected", peer.name));
        self.detail(&format!("session {session}"));
        // Where a connection comes from may be a forwarder's address.
        self.tell(|json| json.connected(&peer.name, None, session));
    }

    /// The sender has.
    pub fn sender_connected(&self, peer: &Peer, session: uuid::Uuid) {
        self.detail(&format!("session {session}"));
        self.tell(|json| json.connected(&peer.name, peer.address, session));
    }

    /// Where a receiver is waited for.
    pub fn listens(&self, endpoint: &Endpoint) {
        if let Host::Name(name) = &endpoint.ticket {
            let address = endpoint.address;
            self.detail(&format!("{name} is {address}; a ticket with the address works as well"));
        }
        match &endpoint.reach {
            Reach::Local { used, left_out } => {
                self.note(&format!(
                    "local network: any machine in it may connect; only the token protects; at {}",
                    used.join(", ")
                ));
                for why in left_out {
                    self.detail(&format!("not used: {why}"));
                }
            }
            Reach::Machine => self
                .note("pod mode: any program on this machine may connect; only the token protects"),
            Reach::Userspace => {
                self.note("this node has no network device: tailscaled delivers to 127.0.0.1")
            }
            Reach::Internet { relays } if relays.is_empty() => self.note(
                "direct, without a relay: anybody may connect who gets here; only the token protects",
            ),
            // Said once it is known at which of them.
            Reach::Internet { .. } | Reach::Tailnet => {}
        }
    }

    /// Somebody guessed; after `left` more the offer ends.
    pub fn wrong_token(&self, peer: &Peer, left: u8) {
        let name = &peer.name;
        if left > 0 {
            let left = counted(left.into(), "attempt", "attempts");
            self.say_warning(&format!("wrong token from {name}; {left} left"));
        }
        self.tell(|json| json.wrong_token(name, left));
    }

    /// The offer's `number`th connection that came to nothing.
    pub fn turned_away(&self, peer: &Peer, why: &str, number: u32) {
        if number <= MAX_REFUSALS {
            self.came_to_nothing(&format!("turned away {}: {why}", peer.origin()), number);
            self.tell(|json| json.turned_away(peer, why));
        }
    }

    /// The same, of a `transfer doctor`.
    pub fn looked(&self, peer: &Peer, number: u32) {
        if number <= MAX_REFUSALS {
            let name = &peer.name;
            let text = format!("{name} had a look with `transfer doctor`: it reaches this offer");
            self.came_to_nothing(&text, number);
            self.tell(|json| json.looked(peer));
        }
    }

    fn came_to_nothing(&self, text: &str, number: u32) {
        match number {
            0..SHOWN_REFUSALS => self.say(text),
            SHOWN_REFUSALS => self.say(&format!("{text} (more only with -v)")),
            _ => self.detail(text),
        }
    }

    /// The receiver lost its sender and dials again after `pause`; for the `attempt`th time
    /// without any progress.
    pub fn dials_again(&self, why: &Error, attempt: u32, pause: Duration) {
        let text = format!("{why}; trying again");
        if attempt == 1 {
            self.say_warning(&text)
        } else {
            self.detail(&text)
        }
        self.tell(|json| json.dials_again(why, attempt, pause));
    }

    /// The sender lost its receiver and waits `patience` for it.
    pub fn waits_again(&self, name: &str, why: &Error, patience: Duration) {
        // What the receiver has said of itself says it all.
        let lost = match why.cause {
            Cause::Network if why.hint.is_none() => "the receiver disconnected: ",
            _ => "",
        };
        self.say_warning(&format!("{name}: {lost}{why}; waiting for it to come back"));
        self.tell(|json| json.waits_again(why, patience));
    }
}

/// A text with a secret that stands out behind an introduction. It is wiped, and there is room for
/// a line end: growing would leave a copy behind.
fn in_bold(intro: &str, text: &str, is_styled: bool) -> Zeroizing<String> {
    let (bold, reset) = if is_styled { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let parts = [intro, bold, text, reset];
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut whole = Zeroizing::new(String::with_capacity(len + 1));
    parts.iter().for_each(|part| whole.push_str(part));
    whole
}

/// What to type on the other machine.
fn command_for(ticket: &Ticket, agreed: Option<&Path>) -> Zeroizing<String> {
    match agreed {
        Some(file) => {
            let (file, place) = (quoted(file), ticket.place());
            Zeroizing::new(format!("{COMMAND}--token-file {file} {place}"))
        }
        None => ticket.command(),
    }
}
