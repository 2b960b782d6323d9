//! Connects through a SOCKS5 (RFC 1928, RFC 1929) or an HTTP CONNECT proxy (RFC 9110, 9.3.6),
//! which is how a userspace Tailscale node lets other programs into the tailnet.

use std::{
    env, fmt, io,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Instant,
};

use super::{Stream, Until, blocked};
use crate::bounds::MAX_PROXY_HEAD;
use crate::net::deadline::left;
use crate::{
    error::{Cause, Error, Result, reason, shown},
    net::tailscale::excerpt,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socks5,
    Http,
}

/// A proxy as `$ALL_PROXY` names it. Prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.kind == Kind::Http { "http" } else { "socks5" };
        let host = shown(&self.host);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{}", self.port),
            false => write!(f, "{scheme}://{host}:{}", self.port),
        }
    }
}

impl Proxy {
    /// Reads `SCHEME://[USER:PASSWORD@]HOST:PORT`, the scheme being `socks5`, `socks5h` or
    /// `http`; without one it is `http`, as for curl. Fails with exit 2, never showing the
    /// text, which may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::usage(format!("ALL_PROXY cannot be used: {what}"))
                .hint("it should be like socks5://localhost:1055 or http://localhost:1055")
        };
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks5h" => Kind::Socks5,
            "http" => Kind::Http,
            _ => return Err(bad("its scheme is neither socks5, socks5h nor http")),
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(|| bad("it has no port"))?;
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| bad("its port is no number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host,
            None if host.contains(':') => return Err(bad("an IPv6 address needs [ ] around it")),
            None => host,
        };
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let login = match login {
            None => None,
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                let decode = |text| unescape(text).ok_or_else(|| bad("its login is malformed"));
                Some((decode(user)?, decode(password)?))
            }
        };
        let fits = |text: &str| (1..=255).contains(&text.len());
        if kind == Kind::Socks5 && login.as_ref().is_some_and(|(u, p)| !fits(u) || !fits(p)) {
            return Err(bad("SOCKS5 takes a user and a password of 1 to 255 bytes each"));
        }
        Ok(Self { kind, host: host.into(), port, login })
    }

    /// The proxy of `$ALL_PROXY` or `$all_proxy`, if one of them is set.
    pub fn from_env() -> Option<Result<Self>> {
        let mut urls = ["ALL_PROXY", "all_proxy"].into_iter().filter_map(env::var_os);
        let url = urls.find(|url| !url.is_empty())?;
        Some(Self::parse(&url.to_string_lossy()))
    }

    /// Connects to the proxy itself, not through it. Fails with exit 5. Looking up its name may
    /// take longer than until the deadline.
    pub fn reach(&self, deadline: Instant) -> Result<Stream> {
        self.connect(deadline).map_err(|error| {
            Error::network(format!("cannot reach the proxy {self}: {}", reason(&error)))
                .hint("is it running? ALL_PROXY names it; without ALL_PROXY `tailscale nc` is used")
        })
    }

    pub(super) fn dial(&self, target: SocketAddr, deadline: Instant) -> Result<Stream> {
        let stream = self.reach(deadline)?;
        let mut until = stream.until(deadline);
        let ready = match self.kind {
            Kind::Socks5 => self.socks5(&mut until, target),
            Kind::Http => self.http(&mut until, target),
        };
        ready.map_err(|refusal| match refusal {
            Refusal::Broken(error) if error.kind() == io::ErrorKind::TimedOut => {
                Error::network(format!("the proxy {self} did not reach {target} in time"))
                    .hint(blocked(target))
            }
            Refusal::Broken(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                Error::network(format!("the proxy {self} hung up")).hint(CHECK)
            }
            Refusal::Broken(error) => {
                Error::network(format!("the proxy {self} failed: {}", reason(&error))).hint(CHECK)
            }
            Refusal::Nonsense(what) => {
                Error::network(format!("the proxy {self} {what}")).hint(CHECK)
            }
            Refusal::Unreachable(why) => {
                Error::network(format!("the proxy {self} cannot reach {target}: {why}"))
                    .cause(Cause::Unreachable)
                    .hint(format!("is `transfer send` still running there? {}", blocked(target)))
            }
        })?;
        stream.set_timeout(None).map_err(|error| {
            Error::network(format!("the connection to {target} failed: {}", reason(&error)))
                .hint("run the same command again")
        })?;
        Ok(stream)
    }

    /// The proxy's name may have several addresses, of which not all listen: localhost, above all.
    fn connect(&self, deadline: Instant) -> io::Result<Stream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => return Ok(Stream::tcp(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn socks5(&self, stream: &mut Until<'_>, target: SocketAddr) -> Negotiation {
        let methods: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods)?;
        match (read_array(stream)?, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                let mut login = vec![1];
                for text in [user, password] {
                    login.push(u8::try_from(text.len()).unwrap_or(u8::MAX)); // see `parse`
                    login.extend(text.as_bytes());
                }
                stream.write_all(&login)?;
                let [_, status] = read_array(stream)?;
                if status != 0 {
                    return Err(Refusal::Nonsense("refuses the login in ALL_PROXY".into()));
                }
            }
            ([5, 0xff], _) => {
                return Err(Refusal::Nonsense("wants another login than ALL_PROXY has".into()));
            }
            _ => return Err(Refusal::Nonsense("does not speak SOCKS5".into())),
        }
        let mut request = vec![5, 1, 0];
        match target.ip() {
            IpAddr::V4(ip) => {
                request.push(1);
                request.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                request.push(4);
                request.extend(ip.octets());
            }
        }
        request.extend(target.port().to_be_bytes());
        stream.write_all(&request)?;
        let [version, code, _, kind] = read_array(stream)?;
        if version != 5 {
            return Err(Refusal::Nonsense("does not speak SOCKS5".into()));
        }
        if code != 0 {
            return Err(Refusal::Unreachable(socks5_reply(code)));
        }
        // The address it dialled from says nothing useful, but is in front of the data.
        let length = match kind {
            1 => 4,
            3 => {
                let [length] = read_array(stream)?;
                usize::from(length)
            }
            4 => 16,
            _ => return Err(Refusal::Nonsense("sent a SOCKS5 answer without sense".into())),
        };
        stream.read_exact(&mut vec![0; length + 2])?;
        Ok(())
    }

    fn http(&self, stream: &mut Until<'_>, target: SocketAddr) -> Negotiation {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some((user, password)) = &self.login {
            let login = base64(format!("{user}:{password}").as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
        }
        stream.write_all((request + "\r\n").as_bytes())?;
        // Byte by byte, because what follows the blank line is the other side's.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if head.len() == MAX_PROXY_HEAD {
                return Err(Refusal::Nonsense("sent an endless HTTP head".into()));
            }
            let [byte] = read_array(stream)?;
            head.push(byte);
        }
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        match code.map(str::as_bytes) {
            Some([b'2', _, _]) => Ok(()),
            Some(b"407") => {
                let has = if self.login.is_some() { "refuses the" } else { "wants a" };
                Err(Refusal::Nonsense(format!("{has} login in ALL_PROXY (HTTP status 407)")))
            }
            Some(_) => {
                let why = lines
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("tailscale-connect-error"))
                    .map_or(status, |(_, why)| why);
                Err(Refusal::Unreachable(excerpt(why.as_bytes())))
            }
            None => Err(Refusal::Nonsense("does not speak HTTP".into())),
        }
    }
}

const CHECK: &str = "check ALL_PROXY; without it `tailscale nc` is used";

type Negotiation = std::result::Result<(), Refusal>;

enum Refusal {
    /// The connection to the proxy failed.
    Broken(io::Error),
    /// The proxy does something we cannot go on with; what, as a predicate.
    Nonsense(String),
    /// The proxy works, the way behind it does not.
    Unreachable(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn read_array<const N: usize>(stream: &mut Until<'_>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// RFC 1928, section 6. Tailscale answers 1 to every failure.
fn socks5_reply(code: u8) -> String {
    match code {
        1 => "it gave no reason",
        2 => "its rules do not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "the time to live ran out",
        7 => "it cannot connect to TCP ports",
        8 => "it does not know this kind of address",
        _ => return format!("SOCKS5 code {code}"),
    }
    .into()
}

/// Undoes `%3A` and its like; `None` when it is malformed or no text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i| chunk.get(i).map_or(0, |&byte| u32::from(byte));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS[(group >> shift) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
