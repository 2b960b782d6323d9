//! Machines of the local network that show a token: announced while they wait, and found by whoever has only the
//! token. That they wait is all that is announced; a record leads to a place to try, and the token alone tells who
//! is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bounds::LOOK_LIMIT;
use crate::connect::around::{Answer, Around, Knock, Look, Rank};
use crate::connect::handshake;
use crate::connect::ways::Way;
use crate::crypto::handshake::VERSION;
use crate::error::{Error, Exit, Result, shown};
use crate::net::dial::dial_first;
use crate::net::interfaces::{Choice, Interfaces};
use crate::net::mdns::{Announcement, Record, Server, Service, Silence, Told};
use crate::ui::Ui;

/// How long others are waited for, once one was found.
const OTHERS: Duration = Duration::from_secs(2);
/// How long one may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// That a token is shown here, until it is dropped.
pub struct Shown {
    announcement: Option<Announcement>,
}

impl Shown {
    /// Announces a machine of this name, which waits at a port, where the way is one of a local network. What cannot
    /// be announced is reached by its address all the same.
    pub fn begin(name: &str, port: u16, way: &Way, ui: &Ui) -> Self {
        let announce = |choice: &Choice| {
            let label = name.split(['.', '\\']).next().unwrap_or_default();
            let record = Record::of_pairing(label, port, VERSION.into())
                .or_else(|_| Record::of_pairing("device", port, VERSION.into()))?;
            let mut announcement =
                Announcement::begin(&record, &Interfaces::look(choice)?, choice)?;
            match announcement.next(Duration::ZERO) {
                Some(Told::Trouble(trouble)) => Err(Error::network(trouble)),
                _ => Ok(announcement),
            }
        };
        let announcement = match way {
            Way::Lan(choice) => announce(choice)
                .map_err(|error| ui.warn(&format!("the whole ticket is needed there: {error}")))
                .ok(),
            _ => None,
        };
        Self { announcement }
    }

    /// Whether others can see it.
    pub fn is_announced(&self) -> bool {
        self.announcement.is_some()
    }

    /// Begins it anew where strangers have made it keep too much. That is looked at now and then, and takes a few seconds
    /// at most; other threads answer whoever connects meanwhile.
    pub fn turn(&mut self, ui: &Ui) {
        let Some(announcement) = &mut self.announcement else { return };
        // Whatever becomes of it, the whole ticket leads here.
        while announcement.next(Duration::ZERO).is_some() {}
        if let Err(error) = announcement.forget_floods() {
            ui.warn(&format!("the whole ticket is needed there from now on: {error}"));
            self.announcement = None;
        }
    }
}

/// A machine that waits, and has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it announces itself as: not safe to show.
    pub name: String,
    /// Where it answers.
    pub at: SocketAddr,
}

/// The one machine of the local network that waits. Of several the person says which: each wrong token costs a
/// guess there.
///
/// # Errors
/// Nobody waits, or somebody floods the network or fills it with records and fewer than two have been found by then (exit 5); several wait, and there is
/// nobody to ask (exit 2).
pub fn find(choice: &Choice, ui: &Ui) -> Result<Waiting> {
    ui.note("looking for the machine that shows the token");
    let mut around = Around::begin(Service::Pairing, choice)?;
    let knock: Knock<SocketAddr> = Arc::new(|_: &Server, at: &[SocketAddr]| {
        let (stream, at) = dial_first(at, ANSWER)?;
        handshake::look(&stream, Instant::now() + ANSWER)?;
        Ok(at)
    });
    let (begun, mut since) = (Instant::now(), None);
    let mut found: Vec<Waiting> = vec![];
    let wanted = |_: &Server| Some(Rank::Other);
    let looked = around.knock(begun + LOOK_LIMIT, &wanted, &knock, &mut |answer| {
        if let Some(Answer { server, came: Ok(at) }) = answer {
            note(&mut found, Waiting { name: server.name, at });
            since.get_or_insert_with(Instant::now);
        }
        match since {
            // Whoever answers at once is not the only one there, as long as others may still answer.
            Some(since) if since.elapsed() >= OTHERS => Look::Settle,
            _ => Look::On,
        }
    });
    let interfaces = Interfaces::look(choice)?;
    let own: Vec<IpAddr> = interfaces.addresses().into_iter().map(|(ip, _)| ip).collect();
    let mut found = of_others(found, &own);
    found.sort_by_key(|it| it.name.to_lowercase());
    let looked = looked.and_then(|()| match around.is_settled(&wanted) {
        true => Ok(()),
        false => Err(Error::network("there are more machines here than could be asked in time")),
    });
    match &*complete(found, looked)? {
        [] => Err(nobody(&around.silence())),
        [one] => Ok(one.clone()),
        several if ui.asks() => {
            let named: Vec<(String, IpAddr)> =
                several.iter().map(|it| (it.name.clone(), it.at.ip())).collect();
            let chosen = ui.ask_waiting(&named)?;
            several.get(chosen).cloned().ok_or_else(|| nobody(&[]))
        }
        several => Err(too_many(several)),
    }
}

/// One more. Several records of one place are one machine.
fn note(found: &mut Vec<Waiting>, waiting: Waiting) {
    if !found.iter().any(|it| it.at == waiting.at) {
        found.push(waiting);
    }
}

/// Whoever shows a token here as well does not mean this machine, if there is another.
fn of_others(found: Vec<Waiting>, own: &[IpAddr]) -> Vec<Waiting> {
    let is_other = |it: &Waiting| !own.contains(&it.at.ip());
    if !found.iter().any(is_other) {
        return found;
    }
    found.into_iter().filter(is_other).collect()
}

/// What was found, where the look came to its end. A flood of records ends it early, and a crowd is not asked to the
/// last: whoever is alone by then may be who sent all that, and the one that is meant was not asked yet.
fn complete(found: Vec<Waiting>, looked: Result<()>) -> Result<Vec<Waiting>> {
    match looked {
        Err(error) if error.exit() != Exit::Network => Err(error),
        Err(error) if found.len() < 2 => {
            Err(error
                .hint("type the whole ticket of the one that is meant: transfer pair HOST:TOKEN"))
        }
        Ok(()) | Err(_) => Ok(found),
    }
}

fn too_many(several: &[Waiting]) -> Error {
    let named = several.iter().map(|it| format!("{} ({})", shown(&it.name), it.at));
    let named = named.collect::<Vec<_>>().join(", ");
    Error::usage(format!("several machines here wait to be paired: {named}"))
        .hint("type the whole ticket of the one that is meant: transfer pair HOST:TOKEN")
}

fn nobody(silence: &[Silence]) -> Error {
    let reason = |it: &Silence| match it {
        Silence::Unknown => "a firewall there may be closed, or the access point keep its devices \
                             apart, as guest networks do"
            .to_owned(),
        known => known.to_string(),
    };
    let reasons: Vec<String> = silence.iter().map(reason).collect();
    Error::network("no machine of the local network shows a token to pair with").hint(format!(
        "`transfer pair` there shows one; its whole ticket, HOST:TOKEN, needs no search; {}",
        reasons.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn several_are_told_and_none_is_taken() {
        let at = |text: &str| text.parse().unwrap();
        let mut found = vec![];
        for (name, place) in
            [("attic", "10.0.0.1:1"), ("copy", "10.0.0.1:1"), ("evil\u{1b}[2J", "10.0.0.2:1")]
        {
            note(&mut found, Waiting { name: name.into(), at: at(place) });
        }
        let own = |ip: &str| of_others(found.clone(), &[ip.parse().unwrap()]).len();
        assert_eq!((own("10.0.0.1"), own("10.0.0.9")), (1, 2));
        let alone = found.get(..1).unwrap().to_vec();
        assert_eq!(of_others(alone.clone(), &["10.0.0.1".parse().unwrap()]), alone);
        let error = too_many(&found);
        assert_eq!(error.exit(), Exit::Usage);
        let expected = "several machines here wait to be paired: attic (10.0.0.1:1), \
                        evil\\u{1b}[2J (10.0.0.2:1)";
        assert_eq!(error.message, expected);
        let nobody = nobody(&[Silence::Unknown]);
        assert_eq!(nobody.exit(), Exit::Network);
        assert!(!nobody.hint.unwrap().contains("server"));
    }

    /// Whoever has answered and then floods gets no guess.
    #[test]
    fn one_alone_is_not_taken_in_a_flood() {
        let one = |number: u16| Waiting {
            name: format!("m{number}"),
            at: SocketAddr::new([10, 0, 0, 1].into(), number),
        };
        let looks: [fn() -> Result<()>; 3] = [
            || Ok(()),
            || Err(Error::network("a flood").hint("name the server")),
            || Err(Error::new(Cause::Interrupted, "stop")),
        ];
        for (count, expected) in [
            (0, [Ok(0), Err(Exit::Network), Err(Exit::Interrupted)]),
            (1, [Ok(1), Err(Exit::Network), Err(Exit::Interrupted)]),
            (2, [Ok(2), Ok(2), Err(Exit::Interrupted)]),
        ] {
            for (look, expected) in looks.iter().zip(expected) {
                let complete = complete((0..count).map(one).collect(), look());
                let came = complete.as_ref().map(Vec::len).map_err(Error::exit);
                assert_eq!(came, expected, "{count}");
                if let Err(error) = complete.as_ref()
                    && error.exit() == Exit::Network
                {
                    assert!(error.hint.as_ref().unwrap().contains("HOST:TOKEN"), "{error:?}");
                }
            }
        }
    }
}
