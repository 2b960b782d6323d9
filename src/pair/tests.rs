use super::*;
use crate::trust::samples::{alone, wish};

#[test]
fn what_is_not_confirmed_leaves_the_list_as_it_was() {
    let certificate = alone(&wish("laptop", &[])).certificate().clone();
    let id = certificate.id;
    let mut seen = Trusted::empty();
    seen.remember("laptop", id).unwrap();
    let mut removed = Trusted::empty();
    removed.remove(&id.to_string()).unwrap();
    let mut pinned = Trusted::empty();
    pinned.pin("laptop", &certificate, Via::Import).unwrap();
    for (row, list) in
        [("new", Trusted::empty()), ("seen", seen), ("removed", removed), ("pinned", pinned)]
    {
        let mut trusted = list.clone();
        let before = Before::of(&trusted, id);
        trusted.pin("notebook", &certificate, Via::Pair).unwrap();
        assert!(trusted.pinned(&id).is_some(), "{row}");
        before.restore(&mut trusted);
        assert_eq!(trusted, list, "{row}");
    }
}

#[test]
fn a_token_alone_is_looked_for() {
    for (typed, expected) in [
        ("ocean-tiger", Some(2)),
        ("Ocean Tiger", Some(2)),
        (" ocean_tiger\n", Some(2)),
        ("maple-river-ocean-tiger", Some(4)),
        ("192.168.1.9:ocean-tiger", None),
        ("laptop:ocean-tiger", None),
        ("[fe80::1]:ocean-tiger", None),
        ("192.168.1.9", None),
        ("", None),
    ] {
        let words = words(typed).unwrap().map(|token| token.words());
        assert_eq!(words, expected, "{typed}");
    }
    for slip in ["ocean", "ocan-tiger", "laptop"] {
        let error = words(slip).unwrap_err();
        assert!(error.secret && error.exit() == Exit::Usage, "{error}");
    }
}

#[cfg(unix)]
mod joining {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread::{self, JoinHandle};

    use tempfile::TempDir;

    use super::*;
    use crate::crypto::record::Protection;
    use crate::protocol::message::{Issued, Join, Request};
    use crate::trust::authority::{Authority, Line, Subject};
    use crate::trust::device::hosts_of;

    const SOON: Duration = Duration::from_secs(20);

    /// A device's folder, perhaps with a CA.
    struct Home {
        _scratch: TempDir,
        folder: Folder,
    }

    impl Home {
        fn new(ca: Option<&str>) -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let folder = Folder::new(scratch.path().join("own"));
            Device::load_or_make(&folder).unwrap();
            if let Some(name) = ca {
                let made = Authority::make(&folder, name).unwrap();
                Trusted::change(&folder, |it| it.add_ca(&made.certificate)).unwrap();
            }
            Self { _scratch: scratch, folder }
        }

        fn device(&self) -> Device {
            Device::load(&self.folder).unwrap().unwrap()
        }

        fn trusted(&self) -> Trusted {
            Trusted::load(&self.folder).unwrap()
        }

        fn ca(&self) -> Authority {
            Authority::load(&self.folder).unwrap()
        }

        fn issued(&self) -> Vec<Line> {
            self.ca().issued().unwrap()
        }

        /// The certificate of a CA that it has.
        fn signed(&self) -> Option<Certificate> {
            Some(self.device().signed?.certificate().clone())
        }

        /// Its side of a pairing, in which the other is called so.
        fn pairs(
            &self,
            stream: &UnixStream,
            peer: Role,
            called: &str,
            says: bool,
        ) -> Result<Paired> {
            let ui = Ui::new(true, 0, true, false);
            let means = Means::look(says, &self.folder, &ui).unwrap();
            let own = Own {
                device: self.device(),
                folder: self.folder.clone(),
                called: Some(called.into()),
                means,
            };
            let address = Some([192, 168, 1, 9].into());
            exchange(session(stream, peer, Features::of_pairing()), peer, address, own, &ui)
        }
    }

    fn session(stream: &UnixStream, peer: Role, features: Features) -> Session {
        let halves = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let limits = Limits { features, ..Limits::default() };
        Session::start(halves, Protection::Carried, peer, limits).unwrap()
    }

    /// Both sides as they are.
    fn both(
        (one, says): (&Home, bool),
        (other, also): (&Home, bool),
    ) -> (Result<Paired>, Result<Paired>) {
        let (near, far) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let theirs = scope.spawn(|| {
                let ended = other.pairs(&far, Role::Sender, "attic", also);
                far.shutdown(Shutdown::Both).unwrap();
                ended
            });
            let ours = one.pairs(&near, Role::Receiver, "laptop", says);
            (ours, theirs.join().unwrap())
        })
    }

    /// The other side, as a test plays it: `play` gets its session and what it needs to answer.
    fn played(
        peer: Role,
        play: impl FnOnce(&mut Session) -> Option<Stop> + Send + 'static,
    ) -> (UnixStream, JoinHandle<()>) {
        let (near, far) = UnixStream::pair().unwrap();
        let playing = thread::spawn(move || {
            let mut session = session(&far, peer, Features::of_pairing());
            match play(&mut session) {
                Some(stop) => drop(session.stop(stop)),
                // The connection is cut.
                None => drop(session),
            }
            let _ = far.shutdown(Shutdown::Both);
        });
        (near, playing)
    }

    fn pair_of(device: &Device, features: Features) -> Control {
        Control::Pair(Pair {
            name: device.name.clone(),
            certificate: device.own.certificate().to_pem(),
            features: features.names(),
        })
    }

    fn interrupted() -> Stop {
        Stop::Own(Reason::Interrupted, Error::new(Cause::Interrupted, "interrupted"))
    }

    #[test]
    fn a_device_joins_the_ca_of_the_other() {
        let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
        let (ours, theirs) = both((&attic, true), (&laptop, true));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((&*ours.name, &*theirs.name), ("laptop", "attic"));
        let (called, certificate) = ours.outcome.issued.unwrap();
        assert_eq!((&*called, certificate.id), ("laptop", laptop.device().id()));
        assert_eq!(certificate.hosts(), "laptop, laptop.local, 192.168.1.9");
        assert_eq!(laptop.signed(), Some(certificate.clone()));
        assert!(theirs.outcome.membership.is_some() && theirs.outcome.remark.is_none());
        assert_eq!(laptop.trusted().cas, attic.trusted().cas);
        let lines = attic.issued();
        assert_eq!((lines.len(), &*lines[0].name, lines[0].id), (1, "laptop", certificate.id));
        // Nothing of the CA but its certificate has left.
        assert!(!Authority::is_here(&laptop.folder));

        // Once more is another certificate for the same key, under the same name.
        let (ours, theirs) = both((&attic, true), (&laptop, true));
        assert_eq!(ours.unwrap().outcome.issued.unwrap().0, "laptop");
        assert!(theirs.unwrap().outcome.membership.is_some());
        assert_ne!(laptop.signed().unwrap().fingerprint, certificate.fingerprint);

        // Another device that is called so gets a name of its own.
        let phone = Home::new(None);
        let (ours, theirs) = both((&attic, true), (&phone, true));
        assert_eq!((&*ours.unwrap().name, theirs.is_ok()), ("laptop-2", true));
        // Nor does it get its address, wherever it comes from.
        assert_eq!(phone.signed().unwrap().hosts(), "laptop-2, laptop-2.local");
    }

    #[test]
    fn both_have_to_want_it() {
        let row = |ca: Option<&str>, says, also| {
            let (attic, laptop) = (Home::new(ca), Home::new(None));
            let (ours, theirs) = both((&attic, says), (&laptop, also));
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            assert!(attic.trusted().pinned(&laptop.device().id()).is_some());
            assert!(laptop.trusted().pinned(&attic.device().id()).is_some());
            assert!(laptop.signed().is_none() && laptop.trusted().cas.is_empty());
            if ca.is_some() {
                assert_eq!(attic.issued(), []);
            }
            let said = |paired: Paired| paired.outcome.remark.unwrap_or_default();
            (said(ours), said(theirs))
        };
        let (ours, theirs) = row(Some("home"), true, false);
        assert!(ours.starts_with("laptop has not joined \"home\": "), "{ours}");
        let expected = "attic lets this device join its CA \"home\": `transfer pair --join` here says yes to that";
        assert_eq!(theirs, expected);
        let (ours, theirs) = row(Some("home"), false, true);
        assert_eq!(ours, "");
        assert!(theirs.starts_with("this device has joined no CA: attic has none"), "{theirs}");
        assert_eq!(row(Some("home"), false, false), (String::new(), String::new()));
        assert_eq!(row(None, false, false), (String::new(), String::new()));
    }

    #[test]
    fn who_has_a_ca_or_is_of_another_stays_there() {
        let (attic, cellar, laptop) =
            (Home::new(Some("home")), Home::new(Some("work")), Home::new(None));
        let (ours, theirs) = both((&attic, true), (&cellar, true));
        for paired in [ours.unwrap(), theirs.unwrap()] {
            assert!(paired.outcome.issued.is_none() && paired.outcome.membership.is_none());
        }
        assert!(attic.signed().is_none() && cellar.signed().is_none());
        assert_eq!((attic.trusted().cas.len(), attic.issued()), (1, vec![]));

        let (ours, _) = both((&cellar, true), (&laptop, true));
        ours.unwrap();
        let before = laptop.signed();
        let (ours, theirs) = both((&attic, true), (&laptop, true));
        assert!(ours.unwrap().outcome.issued.is_none());
        let remark = theirs.unwrap().outcome.remark.unwrap();
        let expected = "this device has not joined \"home\": it has a certificate of \"work\"; to change over, move";
        assert!(remark.starts_with(expected), "{remark}");
        assert_eq!((laptop.signed(), laptop.trusted().cas.len()), (before, 1));
    }

    #[test]
    fn an_older_program_pairs_as_before() {
        for says in [false, true] {
            let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
            let (near, far) = UnixStream::pair().unwrap();
            let pair = pair_of(&laptop.device(), Features::default());
            let playing = thread::spawn(move || {
                let mut session = session(&far, Role::Sender, Features::default());
                session.send_control(&pair).unwrap();
                assert!(matches!(session.receive_control(SOON), Ok(Control::Pair(_))));
                let inbox = session.send_last(&Control::Paired).unwrap();
                receive_last_within(&inbox, Role::Sender, &Control::Paired, SOON).unwrap();
            });
            let paired = attic.pairs(&near, Role::Receiver, "laptop", says).unwrap();
            playing.join().unwrap();
            let remark = "nobody has joined a CA: the program of laptop is too old for it";
            assert_eq!(paired.outcome.remark.as_deref(), says.then_some(remark));
            assert_eq!(attic.issued(), []);
        }
    }

    /// At each message of the one that has the CA, the joining side goes on without it, or is cut off from it.
    #[test]
    fn whoever_is_left_while_joining_keeps_nothing() {
        for (step, cut) in (0..4).flat_map(|step| [(step, false), (step, true)]) {
            let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
            let before = laptop.trusted();
            let (device, ca) = (attic.device(), attic.ca());
            let (near, playing) = played(Role::Receiver, move |session| {
                let ends = || if cut { None } else { Some(interrupted()) };
                if step == 0 {
                    return ends();
                }
                session.send_control(&pair_of(&device, Features::of_pairing())).unwrap();
                if step == 1 {
                    return ends();
                }
                session.receive_control(SOON).unwrap();
                let invites = Join { ca: Some(ca.certificate.to_pem()) };
                session.send_control(&Control::Join(invites)).unwrap();
                if step == 2 {
                    return ends();
                }
                session.receive_control(SOON).unwrap();
                let Ok(Control::Request(Request { request: Some(request) })) =
                    session.receive_control(SOON)
                else {
                    panic!("no request")
                };
                let subject = Subject::Request(&request);
                let issued = ca.issue("laptop", &hosts_of("laptop"), 1, subject).unwrap();
                let certificate = issued.certificate.to_pem();
                session.send_control(&Control::Issued(Issued { certificate })).unwrap();
                ends()
            });
            let ended = laptop.pairs(&near, Role::Sender, "attic", true);
            playing.join().unwrap();
            let error = ended.err().unwrap();
            assert_eq!(laptop.trusted(), before, "{step} {cut}: {error}");
            assert!(laptop.signed().is_none(), "{step} {cut}: {error}");
            if step == 3 {
                let said = "attic has not confirmed it, so the two are not paired: ";
                assert!(error.message.starts_with(said) || cut, "{error}");
            }
        }
    }

    /// The same at each message of the joining side.
    #[test]
    fn whoever_is_left_while_it_lets_join_pins_nobody() {
        for (step, cut) in (0..4).flat_map(|step| [(step, false), (step, true)]) {
            let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
            let before = attic.trusted();
            let device = laptop.device();
            let (near, playing) = played(Role::Sender, move |session| {
                let ends = || if cut { None } else { Some(interrupted()) };
                if step == 0 {
                    return ends();
                }
                session.send_control(&pair_of(&device, Features::of_pairing())).unwrap();
                if step == 1 {
                    return ends();
                }
                session.send_control(&Control::Join(Join::default())).unwrap();
                session.receive_control(SOON).unwrap();
                session.receive_control(SOON).unwrap();
                if step == 2 {
                    return ends();
                }
                let request = Request { request: Some(device.request(&[]).unwrap()) };
                session.send_control(&Control::Request(request)).unwrap();
                assert!(matches!(session.receive_control(SOON), Ok(Control::Issued(_))));
                ends()
            });
            let error = attic.pairs(&near, Role::Receiver, "laptop", true).err().unwrap();
            playing.join().unwrap();
            assert_eq!(attic.trusted(), before, "{step} {cut}: {error}");
            // What has left is written down, whatever came of it.
            assert_eq!(attic.issued().len(), usize::from(step == 3), "{step} {cut}: {error}");
            if step == 3 {
                assert!(error.message.contains("stays in `transfer ca list`"), "{error}");
            }
        }
    }

    /// What a CA's side may send, and is not what was agreed on: nothing of it is kept.
    #[test]
    fn what_is_no_certificate_of_this_ca_is_refused() {
        let other = Home::new(Some("home"));
        let rows = [
            "another key",
            "another CA",
            "no hosts",
            "a CA",
            "no PEM",
            "too many",
            "no invitation of a CA",
            "an invitation of two",
            "an invitation that is no PEM",
            "out of turn",
        ];
        for row in rows {
            let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
            let before = laptop.trusted();
            let (device, ca, namesake) = (attic.device(), attic.ca(), other.ca());
            let (near, playing) = played(Role::Receiver, move |session| {
                session.send_control(&pair_of(&device, Features::of_pairing())).unwrap();
                session.receive_control(SOON).unwrap();
                let own = ca.certificate.to_pem();
                let invited = match row {
                    "no invitation of a CA" => device.own.certificate().to_pem(),
                    "an invitation of two" => own.clone() + &namesake.certificate.to_pem(),
                    "an invitation that is no PEM" => "hello".into(),
                    _ => own.clone(),
                };
                session.send_control(&Control::Join(Join { ca: Some(invited) })).unwrap();
                session.receive_control(SOON).unwrap();
                let Ok(Control::Request(Request { request: Some(request) })) =
                    session.receive_control(SOON)
                else {
                    return None;
                };
                let (hosts, subject) = (hosts_of("x"), Subject::Request(&request));
                let certificate = match row {
                    "another key" => ca.issue("x", &hosts, 1, Subject::New).unwrap().certificate,
                    "another CA" => namesake.issue("x", &hosts, 1, subject).unwrap().certificate,
                    "no hosts" => ca.issue("x", &[], 1, subject).unwrap().certificate,
                    _ => ca.issue("x", &hosts, 1, subject).unwrap().certificate,
                };
                let certificate = match row {
                    "a CA" => own,
                    "no PEM" => "-----BEGIN CERTIFICATE-----\n".into(),
                    "too many" => certificate.to_pem() + &own.repeat(4),
                    _ => certificate.to_pem(),
                };
                let said = match row {
                    "out of turn" => Control::Join(Join::default()),
                    _ => Control::Issued(Issued { certificate }),
                };
                session.send_control(&said).unwrap();
                // Until it has gone.
                let told = session.receive_control(SOON).unwrap_err();
                assert!(matches!(told, Stop::Gone(_)), "{row}: {told:?}");
                None
            });
            let error = laptop.pairs(&near, Role::Sender, "attic", true).err().unwrap();
            playing.join().unwrap();
            assert!(laptop.signed().is_none(), "{row}: {error}");
            assert_eq!(laptop.trusted(), before, "{row}: {error}");
        }
    }

    /// And what the joining side may send.
    #[test]
    fn what_is_no_request_of_that_device_is_not_signed() {
        for row in ["another key", "no PEM", "a request that nobody invited", "out of turn"] {
            let (attic, laptop, phone) =
                (Home::new(Some("home")), Home::new(None), Home::new(None));
            let before = attic.trusted();
            let (device, other) = (laptop.device(), phone.device());
            let says = row != "a request that nobody invited";
            let (near, playing) = played(Role::Sender, move |session| {
                session.send_control(&pair_of(&device, Features::of_pairing())).unwrap();
                session.send_control(&Control::Join(Join::default())).unwrap();
                session.receive_control(SOON).unwrap();
                session.receive_control(SOON).unwrap();
                let request = match row {
                    "another key" => other.request(&[]).unwrap(),
                    "no PEM" => "hello".into(),
                    _ => device.request(&[]).unwrap(),
                };
                let said = match row {
                    "out of turn" => Control::Join(Join::default()),
                    _ => Control::Request(Request { request: Some(request) }),
                };
                session.send_control(&said).unwrap();
                let told = session.receive_control(SOON);
                assert!(!matches!(told, Ok(Control::Issued(_))), "{row}");
                None
            });
            let error = attic.pairs(&near, Role::Receiver, "laptop", says).err().unwrap();
            playing.join().unwrap();
            assert_eq!((attic.trusted(), attic.issued()), (before, vec![]), "{row}: {error}");
        }
    }

    /// A name that no host can have still gives one.
    #[test]
    fn hosts_of_odd_names() {
        let issue = |name: &str| {
            let (attic, laptop) = (Home::new(Some("home")), Home::new(None));
            let (near, far) = UnixStream::pair().unwrap();
            thread::scope(|scope| {
                let theirs = scope.spawn(|| laptop.pairs(&far, Role::Sender, "attic", true));
                attic.pairs(&near, Role::Receiver, name, true).unwrap();
                theirs.join().unwrap().unwrap();
            });
            laptop.signed().unwrap().hosts()
        };
        assert_eq!(issue("Anna's laptop"), "anna-s-laptop, anna-s-laptop.local, 192.168.1.9");
        assert_eq!(issue("日本"), "192.168.1.9");
    }
}
