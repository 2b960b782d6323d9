use std::collections::BTreeSet;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::UnixTime;

use super::*;
use crate::net::tls::provider;
use crate::trust::credentials::Credentials;
use crate::trust::samples::{Ca, Wish, alone, wish};
use crate::trust::store::Via;

fn hosts(names: &[&str]) -> Expect {
    Expect::Host(names.iter().map(|name| (*name).to_owned()).collect())
}

/// What is decided about a certificate; as a server's if somebody was dialled, else as a client's.
fn meet(
    trusted: &Trusted,
    allow: &[String],
    expect: Expect,
    shown: &Credentials,
) -> (Result<Peer, Refusal>, Option<Error>) {
    let rules = Rules::new(trusted.clone(), vec![], allow.to_vec(), provider()).unwrap();
    let as_server = expect != Expect::Anybody;
    let verifier = Verifier::new(rules, expect);
    let der = &shown.certificate().der;
    let now = UnixTime::now();
    let name = ServerName::try_from("ignored.example").unwrap();
    let verified = if as_server {
        verifier.verify_server_cert(der, &[], &name, &[], now).map(drop)
    } else {
        verifier.verify_client_cert(der, &[], now).map(drop)
    };
    let decided = verifier.decided().unwrap();
    assert_eq!(verified.is_ok(), decided.is_ok());
    (decided, verified.err())
}

/// A word for each way in which it can end.
fn word(decided: &Result<Peer, Refusal>) -> &'static str {
    match decided {
        Ok(Peer { is_pinned: true, .. }) => "pinned",
        Ok(_) => "vouched for",
        Err(Refusal::Removed { .. }) => "removed",
        Err(Refusal::OtherKey { .. }) => "other key",
        Err(Refusal::OtherFingerprint { .. }) => "other fingerprint",
        Err(Refusal::NotAllowed { .. }) => "not allowed",
        Err(Refusal::UnknownIssuer(_)) => "unknown",
        Err(Refusal::NamesakeIssuer { .. }) => "namesake",
        Err(Refusal::Expired { .. }) => "expired",
        Err(Refusal::NotYet { .. }) => "not yet",
        Err(Refusal::OtherHost { .. }) => "other host",
        Err(Refusal::Purpose { .. }) => "purpose",
        Err(_) => "something else",
    }
}

/// The rows of docs/lan.md, one by one.
#[test]
fn the_rules_from_first_to_last() {
    let (home, other) = (Ca::new("home"), Ca::new("other"));
    let laptop = alone(&wish("laptop", &[]));
    let attic = home.issue(&wish("attic", &["attic"]));
    let stranger = other.issue(&wish("attic", &["attic"]));
    let old = alone(&Wish { from: -48, to: -24, ..wish("old", &[]) });

    let nobody = Trusted::empty();
    let mut pinned = Trusted::empty();
    for one in [&laptop, &old] {
        pinned.pin(one.certificate().subject.as_str(), one.certificate(), Via::Import).unwrap();
    }
    let mut fleet = Trusted::empty();
    fleet.add_ca(&home.certificate).unwrap();
    let mut gone = fleet.clone();
    gone.remove(&attic.certificate().id.to_string()).unwrap();
    let mut pinned_gone = pinned.clone();
    pinned_gone.remove("laptop").unwrap();
    let mut known = fleet.clone();
    known.remember("attic", attic.certificate().id).unwrap();
    let mut namesake = fleet.clone();
    namesake.remember("attic", laptop.certificate().id).unwrap();
    let mut pinned_namesake = fleet.clone();
    pinned_namesake.pin("attic", laptop.certificate(), Via::Pair).unwrap();

    let id = |it: &Credentials| it.certificate().id;
    let key = |it: &Credentials| Expect::Key("attic".into(), id(it));
    let chosen = |it: &Credentials| Expect::Known("attic".into(), id(it));
    let attic_id = id(&attic).to_string();
    let nameless = home.issue(&wish("nameless", &[]));
    let print = |it: &Credentials| Expect::Fingerprint(it.certificate().fingerprint);
    let key_print = |it: &Credentials| Expect::Fingerprint(id(it).0);
    let rows: &[(&str, &Trusted, &[&str], Expect, &Credentials, &str)] = &[
        ("nobody is trusted", &nobody, &[], Expect::Anybody, &laptop, "unknown"),
        ("1 removed though a CA vouches", &gone, &[], Expect::Anybody, &attic, "removed"),
        ("1 removed though dialled by key", &gone, &[], key(&attic), &attic, "removed"),
        ("1 removed though pinned before", &pinned_gone, &[], Expect::Anybody, &laptop, "removed"),
        ("2 pinned", &pinned, &[], Expect::Anybody, &laptop, "pinned"),
        ("2 pinned, as a server of any host", &pinned, &[], hosts(&["x"]), &laptop, "pinned"),
        ("2 pinned, whatever the date", &pinned, &[], Expect::Anybody, &old, "pinned"),
        ("2 another key of the same name", &pinned, &[], Expect::Anybody, &stranger, "unknown"),
        ("2 dialled by key", &nobody, &[], key(&laptop), &laptop, "pinned"),
        ("2 dialled by key, another answers", &pinned, &[], key(&attic), &laptop, "other key"),
        ("2 by key, and no CA helps", &fleet, &[], key(&laptop), &attic, "other key"),
        ("2 by fingerprint, though nobody knows it", &nobody, &[], print(&attic), &attic, "pinned"),
        ("2 by the key's", &nobody, &[], key_print(&old), &old, "pinned"),
        (
            "2 another than the fingerprint",
            &pinned,
            &[],
            print(&attic),
            &laptop,
            "other fingerprint",
        ),
        (
            "2 by fingerprint, and no CA helps",
            &fleet,
            &[],
            print(&laptop),
            &attic,
            "other fingerprint",
        ),
        ("1 removed though by fingerprint", &gone, &[], print(&attic), &attic, "removed"),
        ("2 pinned, as any server", &pinned, &[], Expect::Server, &laptop, "pinned"),
        ("3 as any server", &fleet, &[], Expect::Server, &attic, "vouched for"),
        ("3 as any server that has a name", &fleet, &[], Expect::Server, &nameless, "other host"),
        ("3 as any server of another CA", &fleet, &[], Expect::Server, &stranger, "unknown"),
        ("2 known and pinned", &pinned, &[], chosen(&laptop), &laptop, "pinned"),
        ("3 known, and vouched for", &fleet, &[], chosen(&attic), &attic, "vouched for"),
        ("3 known, and its CA is gone", &nobody, &[], chosen(&attic), &attic, "unknown"),
        (
            "3 known, and another of the CA answers",
            &fleet,
            &[],
            chosen(&laptop),
            &attic,
            "other key",
        ),
        (
            "3 known, and another that is pinned answers",
            &pinned,
            &[],
            chosen(&attic),
            &laptop,
            "other key",
        ),
        ("1 removed, though chosen", &gone, &[], chosen(&attic), &attic, "removed"),
        ("1 removed, as any server", &gone, &[], Expect::Server, &attic, "removed"),
        ("3 vouched for", &fleet, &[], Expect::Anybody, &attic, "vouched for"),
        ("3 as the server dialled", &fleet, &[], hosts(&["attic"]), &attic, "vouched for"),
        ("3 by one of its names", &fleet, &[], hosts(&["x", "attic"]), &attic, "vouched for"),
        ("3 as another server", &fleet, &[], hosts(&["nas"]), &attic, "other host"),
        ("3 as no server that has a name", &fleet, &[], hosts(&[]), &attic, "other host"),
        ("3 another CA", &fleet, &[], Expect::Anybody, &stranger, "unknown"),
        ("3 seen before", &known, &[], Expect::Anybody, &attic, "vouched for"),
        ("3 its name had another key", &namesake, &[], Expect::Anybody, &attic, "other key"),
        ("3 its name is pinned", &pinned_namesake, &[], Expect::Anybody, &attic, "other key"),
        ("4 named", &fleet, &["Attic"], Expect::Anybody, &attic, "vouched for"),
        ("4 named by id", &fleet, &[&attic_id], Expect::Anybody, &attic, "vouched for"),
        ("4 another named", &fleet, &["nas"], Expect::Anybody, &attic, "not allowed"),
        (
            "4 another named, though pinned",
            &pinned,
            &["nas"],
            Expect::Anybody,
            &laptop,
            "not allowed",
        ),
        ("4 allows nobody by itself", &nobody, &["laptop"], Expect::Anybody, &laptop, "unknown"),
    ];
    for (row, trusted, allow, expect, shown, expected) in rows {
        let allow: Vec<String> = allow.iter().map(|it| (*it).to_owned()).collect();
        let (decided, _) = meet(trusted, &allow, expect.clone(), shown);
        assert_eq!(word(&decided), *expected, "{row}: {decided:?}");
    }
}

/// What the other side is told.
#[test]
fn alerts_fit_their_reasons() {
    let home = Ca::new("home");
    let laptop = alone(&wish("laptop", &[]));
    let mut gone = Trusted::empty();
    gone.remove(&laptop.certificate().id.to_string()).unwrap();
    let other = Expect::Key("attic".into(), home.certificate.id);
    for (trusted, expect, error) in [
        (gone, Expect::Anybody, CertificateError::Revoked),
        (Trusted::empty(), Expect::Anybody, CertificateError::UnknownIssuer),
        (Trusted::empty(), other, CertificateError::ApplicationVerificationFailure),
    ] {
        let (_, told) = meet(&trusted, &[], expect, &laptop);
        assert_eq!(told, Some(Error::InvalidCertificate(error)));
    }
}

#[test]
fn strangers_are_not_told_whom_this_device_knows() {
    let home = Ca::new("home");
    let mut trusted = Trusted::empty();
    trusted.add_ca(&home.certificate).unwrap();
    let rules = Rules::new(trusted, vec![], vec![], provider()).unwrap();
    let verifier = Verifier::new(rules, Expect::Anybody);
    assert!(ClientCertVerifier::root_hint_subjects(&*verifier).is_empty());
}

/// A chain that is too long, or bytes that are no certificate, are refused before anything else.
#[test]
fn what_is_not_understood_is_refused() {
    let laptop = alone(&wish("laptop", &[]));
    let mut trusted = Trusted::empty();
    trusted.pin("laptop", laptop.certificate(), Via::Pair).unwrap();
    let rules = Rules::new(trusted, vec![], vec![], provider()).unwrap();
    let der = &laptop.certificate().der;
    let mut cut = der.to_vec();
    cut.pop();
    let mut longer = der.to_vec();
    longer.push(0);
    let no_certificates = [vec![], cut, longer, vec![0x30; 1000]].map(CertificateDer::from);
    for der in no_certificates {
        let verifier = Verifier::new(Arc::clone(&rules), Expect::Anybody);
        verifier.verify_client_cert(&der, &[], UnixTime::now()).unwrap_err();
        assert!(matches!(verifier.decided(), Some(Err(Refusal::Malformed(_)))));
    }
    let verifier = Verifier::new(rules, Expect::Anybody);
    let many = vec![der.clone(); MAX_CHAIN];
    verifier.verify_client_cert(der, &many, UnixTime::now()).unwrap_err();
    verifier.verify_client_cert(der, &many[1..], UnixTime::now()).unwrap();
}

/// Every combination of what the rules look at, against the rules as a person would read them.
#[test]
fn no_combination_is_without_a_rule() {
    let (home, other, namesake) = (Ca::new("home"), Ca::new("other"), Ca::new("home"));
    let laptop = alone(&wish("laptop", &[]));
    let usages: [&[_]; 4] = [&[], &[ServerAuth, ClientAuth], &[ServerAuth], &[ClientAuth]];
    let dates = [(-1, 24), (-48, -24), (24, 48)];
    let sans: [&[&str]; 3] = [&["attic"], &["nas"], &[]];
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (who, ca) in [(0, &home), (1, &other), (2, &namesake)] {
        for (from, to) in dates {
            for hosts_of in sans {
                for usages in usages {
                    let wished = Wish { from, to, usages, ..wish("attic", hosts_of) };
                    let attic = ca.issue(&wished);
                    let id = attic.certificate().id;
                    for bits in 0..(2 * 2 * 2 * 2 * 3 * 3) {
                        let flag = |at: u32| bits >> at & 1 == 1;
                        let [removed, pinned, has_ca, taken] = [0, 1, 2, 3].map(flag);
                        let (allow, expect) = (bits / 16 % 3, bits / 48 % 3);
                        let mut trusted = Trusted::empty();
                        if pinned {
                            trusted.pin("attic", attic.certificate(), Via::Pair).unwrap();
                        }
                        if has_ca {
                            trusted.add_ca(&home.certificate).unwrap();
                        }
                        if removed {
                            let at = jiff::Timestamp::UNIX_EPOCH;
                            let name = "attic".into();
                            trusted.removed.push(super::super::store::Removed { id, name, at });
                        }
                        if taken {
                            let name = "attic".into();
                            trusted.names.insert(name, laptop.certificate().id);
                        }
                        let allowed = ["attic", "nas"].get(allow).map(|it| (*it).to_owned());
                        let allowed: Vec<String> = allowed.into_iter().collect();
                        let expected = match expect {
                            0 => Expect::Anybody,
                            1 => hosts(&["attic"]),
                            _ => Expect::Key("attic".into(), id),
                        };
                        let (decided, _) = meet(&trusted, &allowed, expected, &attic);
                        let as_server = expect != 0;
                        let usage = if as_server { &ServerAuth } else { &ClientAuth };
                        let rule = if removed {
                            "removed"
                        } else if pinned || expect == 2 {
                            if allow == 1 { "not allowed" } else { "pinned" }
                        } else if !has_ca {
                            "unknown"
                        } else if (from, to) == dates[1] {
                            "expired"
                        } else if (from, to) == dates[2] {
                            "not yet"
                        } else if !usages.is_empty() && !usages.contains(usage) {
                            "purpose"
                        } else if who == 1 {
                            "unknown"
                        } else if who == 2 {
                            "namesake"
                        } else if as_server && hosts_of != sans[0] {
                            "other host"
                        } else if taken {
                            "other key"
                        } else if allow == 1 {
                            "not allowed"
                        } else {
                            "vouched for"
                        };
                        assert_eq!(word(&decided), rule, "{wished:?} {bits:b}: {decided:?}");
                        seen.insert(rule);
                        count += 1;
                    }
                }
            }
        }
    }
    assert_eq!((count, seen.len()), (3 * 3 * 3 * 4 * 144, 11), "{seen:?}");
}
