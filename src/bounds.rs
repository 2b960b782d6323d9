//! What a peer, a stranger or an outside program can make this program spend: every bound that
//! keeps somebody else from deciding, in one place. `docs/security.md` lists them with the attack
//! that each one stops, and a test keeps the two lists alike.

use std::time::Duration;

// The door: who may connect to a sender, and how often.

/// Handshakes that may run at the same time. When another comes, the oldest of the device or
/// address that has the most of them leaves.
pub const MAX_HANDSHAKES: usize = 16;
/// Connections that may be looked at in any way at the same time; more are closed at once…
pub const MAX_CONNECTIONS: usize = 64;
/// …and so are more from one address: handshakes that left the list have a thread for a moment yet.
pub const MAX_CONNECTIONS_EACH: usize = 32;
/// …and of one IPv6 network of 64 bits, all of whose addresses may be one machine's.
pub const MAX_CONNECTIONS_NET: usize = 48;
/// Connections that the system may keep until they are looked at.
pub const MAX_BACKLOG: i32 = 1024;
/// Times that a receiver is let try again whose first connections are closed before the sender's
/// hello: where many knock, it may have been crowded out.
pub const MAX_CUTS: u32 = 4;
/// Connections whose outcome may wait to be looked at while a receiver is served; more refusals are forgotten.
pub const MAX_INCOMING: usize = 256;
/// How long a handshake may take in all, on either side.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Wrong tokens after which an offer ends.
pub const MAX_GUESSES: u8 = 3;
/// Proofs that a receiver gives, in one run, to somebody who does not answer them; each tests
/// one token.
pub const MAX_UNANSWERED: u8 = 3;
/// Refused connections that are shown; more would let a stranger fill the screen.
pub const SHOWN_REFUSALS: u32 = 5;
/// Refused connections that are told at all in one wait; more would let a stranger fill a log.
pub const MAX_REFUSALS: u32 = 1000;
/// A server that is always there counts them anew after so long.
pub const REFUSALS_FRESH: Duration = Duration::from_secs(60 * 60);

// A server that is always there, and devices that it trusts.

/// Uploads that a server takes at the same time…
pub const MAX_UPLOADS: usize = 4;
/// …devices' connections that it keeps, those that wait in line among them…
pub const MAX_SESSIONS: usize = 16;
/// …and those of one device.
pub const MAX_SESSIONS_EACH: usize = 4;
/// Lists of one device that are taken before they have their turn, the one under way among them.
pub const MAX_LISTS_EACH: usize = 2;

// Direct mode: whoever finds a sender in the internet.

/// Connections of QUIC that have said nothing yet; when another comes, the oldest leaves of where most
/// are from. From half as many on an address has to be proved first.
pub const MAX_QUIC_CALLERS: usize = 64;
/// Bytes that somebody may send who has not proved anything, before they are read.
pub const STRANGER_WINDOW: u32 = 64 << 10;
/// Bytes that may wait in one stream of QUIC. With some 2,000 packets in it the engine ends the
/// connection.
pub const QUIC_STREAM_WINDOW: u32 = 2 << 20;
/// Bytes that may wait in all streams of a connection together, at first…
pub const QUIC_START_WINDOW: u32 = 4 << 20;
/// …and where the way needs more.
pub const QUIC_WINDOW: u32 = 32 << 20;
/// Streams into which a sender may part its bytes.
pub const MAX_QUIC_STRIPES: u8 = 16;
/// How long a relay may take to let this side in.
pub const REGISTER_LIMIT: Duration = Duration::from_secs(10);
/// How long a sender may take to answer through a relay that has let this side in.
pub const ABSENT_LIMIT: Duration = Duration::from_secs(10);
/// Warnings and details of direct mode's engine that are passed on to the log in one run.
pub const MAX_ENGINE_WARNINGS: usize = 1000;
/// How long the last bytes of a connection of QUIC may take to be acknowledged; of strangers' so many are
/// waited for at a time as there may be handshakes.
pub const LAST_BYTES_LIMIT: Duration = Duration::from_secs(3);

// A relay, which is open to everybody.

/// Connections that are on their way to being clients; when another comes, the oldest of the address that
/// has the most of them leaves.
pub const MAX_RELAY_HANDSHAKES: usize = 256;
/// Connections that an address (IPv6: a /64) may open a second…
pub const RELAY_ARRIVALS: f64 = 4.0;
/// …after so many at once.
pub const RELAY_ARRIVALS_BURST: f64 = 16.0;
/// A /48 of IPv6, which may be one stranger's, counts as so many addresses in all of this.
pub const RELAY_SITE: u8 = 4;
/// Addresses that are remembered for that; beyond them no new ones are let in for a moment.
pub const MAX_RELAY_ADDRESSES: usize = 65_536;
/// Bytes of the head of a request.
pub const MAX_RELAY_HEAD: usize = 16 << 10;
/// Lines about single clients between two lines that count them.
pub const MAX_RELAY_LINES: u32 = 1000;
/// Public keys that are remembered, as checking one takes time.
pub const MAX_RELAY_KEYS: usize = 16_384;

// The wire: memory that a record or a message can take.

/// Bytes of file content that a record may carry.
pub const MAX_CONTENT: usize = 1 << 20;
/// Bytes that a record may hold beside the content.
pub const MAX_FRAMING: usize = 1024;
/// Bytes of plaintext that a record may hold, compressed or not.
pub const MAX_PLAINTEXT: usize = MAX_CONTENT + MAX_FRAMING;
/// Bytes of one element place that Blosc2 hands to LZ4 at once. It is what compression level 5
/// gives, and bounds the working memory of a decoder to 4 × 8 × 64 KiB.
pub const MAX_LZ4_STREAM: usize = 64 * 1024;
/// Bytes of a control message's JSON.
pub const MAX_CONTROL: usize = 64 * 1024;
/// Bytes of plaintext of a note, a message that is skipped by who does not know it…
pub const MAX_NOTE: usize = 64 * 1024;
/// …and how many of them may come between two other messages.
pub const MAX_NOTES: u32 = 256;
/// Names of features that count, of those that the other side says it has…
pub const MAX_FEATURES: usize = 64;
/// …and the bytes that each of them may have.
pub const MAX_FEATURE: usize = 32;
/// Records that may wait between an engine and a stream, each way.
pub const MAX_QUEUED: usize = 4;
/// Records that may be prepared, sealed, opened or written to disk at the same time.
pub const MAX_LANES: usize = 8;
/// Files that go together in a record; of one that has more the engine writes the rest itself.
pub const MAX_BATCH: usize = 256;
/// Unfinished files that came and are still compared with their states, before anybody waits.
pub const MAX_CHECKS: usize = 4;

// The offer.

/// Entries that are taken without being asked for: some 250 MB at 250 bytes each.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes that the names and link targets of an offer may have altogether, whatever its entries…
pub const MAX_NAMES: u64 = 32 << 20;
/// …and so many more for each entry.
pub const MAX_NAMES_EACH: u64 = 100;
/// Bytes that a whole path, or a link's target, may have.
pub const MAX_PATH: usize = 4096;
/// Bytes that one component of a path may have.
pub const MAX_NAME: usize = 255;
/// Names of unsendable things that are told to the receiver; the rest is only counted.
pub const MAX_UNSENT_NAMES: usize = 30;
/// Failed entries of which it is told what the system said; of others only the kind is kept.
pub const MAX_TOLD: usize = 1000;
/// Names that the event of an offer lists, for programs: an offer may have a million.
pub const MAX_TOPS: usize = 1000;
/// Bytes of a text that is shown; what is longer is sent as a stream.
pub const MAX_TEXT: usize = 1 << 20;
/// Holes of a file are whole blocks of so many bytes: each piece of content between two of them can cost
/// a page of hashing, and a block on the disk.
pub const HOLE_BLOCK: u64 = 4096;
/// Bytes of content for which a state of 32 bytes is kept: one for each block that came whole.
pub const BLOCK: u64 = 8 << 20;
/// Times that a file, or a block of it, may cross, the first included.
pub const ATTEMPTS: u8 = 3;

// Time: timeouts, and when to stop trying again. The backoff between two attempts to connect is in
// `connect::redial`.

/// How long connecting may take.
pub const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// How long a side may be silent, every 5 s of which it should have said something, before its
/// connection counts as lost. With half a second until it is dialled again, less than 30 s.
pub const LOST_LIMIT: Duration = Duration::from_secs(20);
/// So many times as long as a line may be silent a record may take to bring…
pub const RECORD_PATIENCE: u32 = 3;
/// …so many bytes, or to be whole.
pub const RECORD_BYTES: usize = 4096;
/// How long a lost peer is waited for, and without progress dialled; and how long it may be silent
/// where losing it loses all.
pub const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How long a machine may refuse the connection before its sender counts as gone.
pub const GONE_LIMIT: Duration = Duration::from_secs(60);
/// How long a sender may serve somebody else before a new receiver gives up.
pub const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// How long a device that is pinned already may take to confirm that it has paired too.
pub const PAIRED_LIMIT: Duration = Duration::from_secs(30);
/// How long each step of a pairing before that may take; a person may be asked in between.
pub const PAIRING_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Connections in a row that may bring nothing.
pub const MAX_TRIES: u32 = 40;
/// How long a side that stops waits for the other to have read why.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// Time between two saves of the lock file, at least.
pub const LOCK_PACE: Duration = Duration::from_secs(2);
/// Time between two flushes while content comes, at least: they keep the disk busy, but what is
/// written then need not be waited for at the end.
pub const FLUSH_PACE: Duration = Duration::from_secs(2);
/// A save that took long delays the next, so that keeping the lock costs at most a twentieth.
pub const LOCK_COST: u32 = 20;
/// How long a transfer may take to come to its next record, once it is to stop, before it is
/// ended where it is.
pub const GRACE: Duration = Duration::from_secs(3);

// What is announced on the local network.

/// Servers that are listed; more are counted.
pub const MAX_SERVERS: usize = 256;
/// Addresses of one server that are kept.
pub const MAX_SERVER_ADDRESSES: usize = 16;
/// Records that come, change and go in one search, before it ends…
pub const MAX_HEARD: u32 = 10_000;
/// …and records that are kept of them at a time.
pub const MAX_KEPT: i64 = 20_000;
/// Servers that are knocked at at the same time.
pub const MAX_KNOCKS: usize = 16;
/// Of those, the ones at one machine, and the ones that are kept for the name that is looked for.
pub const MAX_KNOCKS_EACH: usize = 2;
/// How long a server is looked for by its name, where nobody says otherwise.
pub const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How long all addresses of one server may take to answer, tried one after the other.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The same for all ports of a server in the tailnet, to which a relay at the other end of the world may lead.
pub const FAR_ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long saying goodbye may take.
pub const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

// Outside programs.

/// Bytes of the head of a proxy's answer.
pub const MAX_PROXY_HEAD: usize = 8 << 10;
/// How long `tailscale` may run. It tries for up to 5 s to reach its service.
pub const TAILSCALE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that `tailscale` may print; 50,000 peers are 59 MB.
pub const MAX_STATUS: u64 = 256 << 20;
/// One status of the tailnet serves this long.
pub const STATUS_FRESH: Duration = Duration::from_secs(30);
/// An unknown address makes us ask again only when the last answer is older than this, so that
/// whoever hammers the port cannot make us start a process for each connection.
pub const STATUS_PAUSE: Duration = Duration::from_secs(2);

// Certificates.

/// Certificates that a file, or a peer, may show: its own and those that signed it.
pub const MAX_CHAIN: usize = 4;
/// Characters that are shown of what somebody says whom nobody has verified: a certificate, a relay, a CA;
/// and of a warning of direct mode's engine, which may have a relay's words in it.
pub const MAX_CLAIM: usize = 200;
/// Bytes of a file with certificates or a key that are read.
pub const MAX_PEM: u64 = 4 << 20;
/// Bytes that a peer may send before a TLS handshake is done, not yet understood.
pub const MAX_TLS_HANDSHAKE: usize = 64 << 10;
/// Bytes of answers to messages of TLS itself that may wait to be sent.
pub const MAX_TLS_PENDING: usize = 64 << 10;

// What is typed.

/// Bytes of a ticket: the longest relays and token, and some room.
pub const MAX_TICKET: usize = 2400;
/// Bytes of a token; eight words of nine letters are 79.
pub const MAX_TOKEN: usize = 200;
/// Relays that a ticket, or a command line, may name.
pub const MAX_RELAYS: usize = 8;
/// How often a plate is drawn again that somebody has.
pub const DRAWS: u32 = 3;
/// Bytes of a host name (RFC 1035).
pub const MAX_HOST: usize = 253;
/// Bytes of what stands between two dots of it.
pub const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    /// Every constant above is in the table of the document, and the table names no other.
    #[test]
    fn the_document_lists_every_bound() {
        let code = include_str!("bounds.rs").lines();
        let defined = code.filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
        let mut defined: Vec<&str> = defined.collect();
        let page = include_str!("../docs/security.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Bounds"));
        let cells = section.unwrap().lines().filter_map(|line| line.split('|').nth(2));
        let mut listed: Vec<&str> =
            cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        defined.sort_unstable();
        listed.sort_unstable();
        assert!(defined.len() > 30, "{defined:?}");
        assert_eq!(listed, defined);
    }
}
