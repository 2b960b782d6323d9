//! Who is here: the servers of the local network. Whatever records say, a server is shown as one only
//! when it has answered, and is trusted; then it is called what its key is known by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connect::around::{Answer, Around, Knock, Look, Rank};
use crate::connect::devices::{Own, Papers};
use crate::connect::secured::{connect, explain};
use crate::connect::{Connection, NotConnected, Peer};
use crate::crypto::keys::Role;
use crate::error::{Cause, Error, Exit, Result, shown};
use crate::net::interfaces::Choice;
use crate::net::mdns::{Server, Service, Silence};
use crate::protocol::session::{Limits, Session};
use crate::trust::store::Known;
use crate::trust::verifier::Expect;
use crate::ui::{Found, Seen, Ui};

/// How long a server that is only looked at may take to answer, and then to say something.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What to look for; resolved from the command line.
#[derive(Debug, Clone)]
pub struct FindOptions {
    /// Whether to show those that are not trusted, or do not answer, one by one.
    pub all: bool,
    /// How long to look.
    pub wait: Duration,
    /// The interfaces to look at.
    pub choice: Choice,
    /// Certificates that the command line names.
    pub papers: Papers,
}

/// Runs `transfer find`.
pub fn run(options: &FindOptions, ui: &Ui) -> Result<Exit> {
    let own = Arc::new(Own::load(&options.papers)?);
    let Here { found, silence } =
        look_around(&own, &options.choice, options.wait, &|_, _| Look::On)?;
    ui.found(&found, options.all)?;
    match found.iter().any(|found| found.came.is_ok()) {
        true => Ok(Exit::Done),
        false => Err(nobody(&found, &silence)),
    }
}

/// What a look around came to.
pub struct Here {
    /// Servers, those that are trusted first, by name.
    pub found: Vec<Found>,
    /// Why there may be more that were not heard.
    pub silence: Vec<Silence>,
}

/// Looks for servers, and looks at each, for so long or until it is `enough`, which is asked again and
/// again, with how long it has been.
///
/// # Errors
/// Exit 5 where this machine cannot look, 130 when the user wants to stop.
pub fn look_around(
    own: &Arc<Own>,
    choice: &Choice,
    wait: Duration,
    enough: &dyn Fn(&[Found], Duration) -> Look,
) -> Result<Here> {
    let mut around = Around::begin(Service::Server, choice)?;
    // Those that are known here first: a record has its name for itself, and whoever floods the network has others.
    let rules = own.rules()?;
    let trusted = rules.trusted();
    let wanted = |server: &Server| {
        let is_key = |known: &Known| known.id.0.starts_with(&server.txt.id);
        Some(match trusted.key_of(&server.name) {
            Some(_) => Rank::Exact,
            None if trusted.devices.iter().any(is_key) => Rank::Likely,
            None => Rank::Other,
        })
    };
    let owner = Arc::clone(own);
    let knock: Knock<Seen> =
        Arc::new(move |server, at| look_at(&owner, server, at).map_err(NotConnected::into_error));
    let mut found: Vec<Found> = Vec::new();
    let begun = Instant::now();
    let looked = around.knock(begun + wait, &wanted, &knock, &mut |answer| {
        answer.into_iter().for_each(|answer| note(&mut found, answer));
        enough(&found, begun.elapsed())
    });
    // A flood of records ends the look, and takes nothing away of what was found.
    let has_found = found.iter().any(|found| found.came.is_ok());
    looked.or_else(|error| match error.exit() {
        Exit::Network if has_found => Ok(()),
        _ => Err(error),
    })?;
    // Those whose answer is still out when nobody waits any more.
    for server in around.servers() {
        if !found.iter().any(|known| known.server.name == server.name) {
            let came = Err(Error::network("it has not answered in time"));
            found.push(Found { server: server.clone(), came });
        }
    }
    found.sort_by_cached_key(|found| {
        (
            found.came.is_err(),
            found.came.as_ref().ok().map(|it| it.name.to_lowercase()),
            found.server.name.clone(),
        )
    });
    Ok(Here { found, silence: around.silence() })
}

/// One more answer. A record that leads to a server that is there already is somebody's copy of it.
fn note(found: &mut Vec<Found>, Answer { server, came }: Answer<Seen>) {
    found.retain(|known| known.server.name != server.name);
    let same = found.iter().position(|known| match (&known.came, &came) {
        (Ok(known), Ok(new)) => known.id == new.id && known.at == new.at,
        _ => false,
    });
    let is_own =
        |server: &Server| came.as_ref().is_ok_and(|seen| seen.id.0.starts_with(&server.txt.id));
    match same.and_then(|at| found.get_mut(at)) {
        Some(known) if is_own(&known.server) || !is_own(&server) => {}
        Some(known) => *known = Found { server, came },
        None => found.push(Found { server, came }),
    }
}

/// Shakes hands with a server, reads what it says of itself, and goes.
fn look_at(own: &Own, server: &Server, at: &[std::net::SocketAddr]) -> Result<Seen, NotConnected> {
    let (channel, at) = connect(own, &server.name, Expect::Server, at, LOOK_LIMIT)?;
    let (watch, id) = (channel.watch.clone(), channel.peer.id);
    let Connection { reader, writer, closer: _closer, protection, peer, .. } =
        Connection::carried(channel, Peer::unknown(at.ip()));
    let limits = Limits { patience: LOOK_LIMIT, lanes: 1, ..Limits::default() };
    let mut session = Session::start((reader, writer), protection, Role::Receiver, limits)?;
    match session.await_welcome() {
        Ok(welcome) => Ok(Seen {
            name: peer.name,
            id,
            record: server.name.clone(),
            at,
            free: welcome.free,
            left: welcome.left,
            queue: welcome.queue,
        }),
        Err(stop) => Err(match watch.failure() {
            Some(failure) if !failure.may_pass() => explain(own, &server.name, &failure),
            _ => session.stop(stop).into(),
        }),
    }
}

/// Why nobody is there to send to, with all that may be the reason here.
pub fn nobody(found: &[Found], silence: &[Silence]) -> Error {
    let strangers = found.iter().filter(|found| found.is_stranger());
    let names: Vec<String> =
        strangers.map(|found| shown(&found.server.name).into_owned()).collect();
    if !names.is_empty() {
        return Error::new(
            Cause::Network,
            "no server here trusts this device and is trusted by it",
        )
        .hint("`transfer pair`, here and there, introduces the two");
    }
    let reasons: Vec<String> = silence.iter().map(ToString::to_string).collect();
    Error::network("no server was found in the local network").hint(reasons.join("; "))
}
