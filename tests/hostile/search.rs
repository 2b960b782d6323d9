//! The search for the token, off line, by somebody who has no token and has answered one connection
//! of each role: the attack that a short token does not survive without a PAKE.
//!
//! **What the searcher has.** Everything on the wire, both hellos and the receiver's confirmation,
//! and its own secrets: its X25519 key, so that it knows Z; its SPAKE2 scalar and how it made its
//! element. It does not have the receiver's secrets.
//!
//! **What is searched.** All pairs of some hundred words, the right pair among them; each candidate
//! is tested as the right one would be: its scalar w', the SPAKE2 result K' that follows from it,
//! S, PRK, the confirmation key, and at last the HMAC that the receiver sent. The time for all
//! 60,466,176 pairs is that for these, times a constant that any attacker can pay.
//!
//! **Why it is complete.** A confirmation can be tested only through K, for Z is known to the
//! searcher and the rest is public. The receiver has computed
//!
//! ```text
//! K = y·(X − w·M)        with  Y = y·G + w·N
//! ```
//!
//! and whoever made X = x·G + v·M can turn that into x·(Y − w·N) + (v − w)·y·M. The first term it
//! can compute for every w'. The second is 0 for w = v, the one guess that it built into X; for
//! any other it takes y·M from Y − w·N = y·G, which is the Diffie-Hellman problem: M is a point
//! whose logarithm nobody knows. So the first term is all that there is to test, for every w' and
//! whatever X was: an honest element of a wrong token, none at all (v = 0), M itself (x = 0), or a
//! point of small order, which adds one of eight points, and all of them are tested.
//!
//! **That the search can find.** Three controls run the same loop. With the right token built into X
//! it finds it: that is the one guess. Where the confirmation comes from
//! HKDF with the token as its salt alone, as one might do without a PAKE, it finds it. And where
//! M has a logarithm that the searcher knows, it finds it: nothing else is in its way.

use std::io::Write;
use std::thread;

use anyhow::{Result, ensure};
use spake2::{Ed25519Group as Curve, Group};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use crate::script::read;
use crate::shake::{Hello, ID, Keys, Own, Point, Scalar, Side, compress, hmac, password, sha256};
use crate::stage::{Case, STAYS, Stage, TOKEN, connect, token_of};

/// The words of the list, as the program has it.
const WORDS: &str = include_str!("../../wordlist/words.txt");

/// A token that is not the right one.
const WRONG: &str = "aardvark-abacus";

/// All pairs of `count` words, the two of the token among them.
fn candidates(token: &str, count: usize) -> Vec<String> {
    let all: Vec<&str> = WORDS.lines().collect();
    // From all over the list, or the words would all begin with the same letter.
    let step = all.len() / (count - 2);
    let mut words: Vec<&str> = all.iter().step_by(step).take(count - 2).copied().collect();
    words.extend(token.split('-'));
    let pairs = words.iter().flat_map(|a| words.iter().map(move |b| format!("{a}-{b}")));
    pairs.collect()
}

/// Tests every candidate; those that fit.
fn search(candidates: &[String], fits: impl Fn(&str) -> bool + Sync) -> Vec<String> {
    let (first, second) = candidates.split_at(candidates.len() / 2);
    let search = |part: &[String]| -> Vec<String> {
        part.iter().filter(|token| fits(token)).cloned().collect()
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| search(second));
        [search(first), other.join().unwrap()].concat()
    })
}

/// One connection of the real receiver, answered without the token.
struct Recording {
    own: Own,
    theirs: Hello,
    confirmation: [u8; 48],
}

impl Recording {
    /// Answers `transfer receive` with v·M + x·G and a point of small order, and no proof.
    fn of_receiver(name: &str, x: Scalar, v: Scalar, small: Point) -> Result<Self> {
        let stage = Stage::bare()?;
        let mut recording = None;
        let case = Case::new(format!("search: {name}"), 4, "wrong token");
        stage.receive_from(&case, |door| {
            let mut stream = door.next()?;
            let element = Curve::basepoint_mult(&x) + Curve::const_m() * v + small;
            let own = Own { scalar: x, ..Own::with(Side::Sender, |_| compress(&element)) };
            stream.write_all(&own.hello)?;
            let (theirs, confirmation) = (read(&mut stream)?, read(&mut stream)?);
            stream.write_all(&[&[1, 2][..], &[0; 32]].concat())?;
            recording = Some(Self { own, theirs, confirmation });
            Ok(None)
        })?;
        Ok(recording.expect("a recording"))
    }

    /// The candidates that fit this recording with K = x·(Y − w·N), `x` for each candidate's w, and
    /// any of these points added.
    fn search(
        &self,
        candidates: &[String],
        points: &[Point],
        x: impl Fn(&Scalar) -> Scalar + Sync,
    ) -> Vec<String> {
        let element = Curve::bytes_to_element(&self.theirs[43..]).unwrap();
        let shared = self.own.shared(&self.theirs);
        search(candidates, |token| {
            let w = password(token);
            let k = (element - Curve::const_n() * w) * x(&w);
            points.iter().any(|small| {
                let k = compress(&(k + small));
                let keys = self.own.keys_from(shared, &self.theirs, token, &k);
                keys.confirmed_by(&self.confirmation)
            })
        })
    }
}

/// The eight points of small order, the neutral element first.
fn torsion() -> Vec<Point> {
    let encoded: [u8; 32] = std::array::from_fn(|at| {
        let hex = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
        u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()
    });
    let generator = Curve::bytes_to_element(&encoded).unwrap();
    let zero = Curve::basepoint_mult(&Scalar::from(0u8));
    let mut points = vec![zero];
    while let Some(next) = points.last().map(|last| last + generator)
        && next != zero
    {
        points.push(next);
    }
    points
}

/// The impostor in the sender's place, with every kind of element that it can make.
#[test]
fn a_failed_handshake_of_the_receiver_tells_nothing() -> Result<()> {
    let points = torsion();
    ensure!(points.len() == 8, "{} points of small order", points.len());
    let any = || Scalar::from_bytes_mod_order_wide(&rand::random());
    let (zero, one, wrong) = (Scalar::from(0u8), Scalar::from(1u8), password(WRONG));
    // What X is made of, how many words are searched, and whether the token may be found.
    let rows = [
        ("an honest element of a wrong token", any(), wrong, 0, 100, false),
        ("an element without a password", any(), zero, 0, 50, false),
        ("M itself", zero, one, 0, 50, false),
        ("the neutral element", zero, zero, 0, 50, false),
        ("a point of small order", zero, zero, 1, 30, false),
        ("a wrong token and a part of small order", any(), wrong, 1, 30, false),
        // The one guess: it is built into the element.
        ("the right token", any(), password(TOKEN), 0, 50, true),
        ("the right token and a part of small order", any(), password(TOKEN), 1, 30, true),
    ];
    for (name, x, v, small, words, found) in rows {
        let recording = Recording::of_receiver(name, x, v, points[small])?;
        // Without a part of small order in X there is none in K.
        let points = if small == 0 { &points[..1] } else { &points };
        let hits = recording.search(&candidates(TOKEN, words), points, |_| x);
        let expected: &[&str] = if found { &[TOKEN] } else { &[] };
        ensure!(hits == expected, "{name}: a search off line found {hits:?}");
    }
    Ok(())
}

/// The impostor in the receiver's place gets less: a hello that is the same whatever the token, and
/// an answer in which nothing depends on it. There is nothing to test a candidate against.
#[test]
fn a_failed_handshake_of_the_sender_tells_nothing() -> Result<()> {
    let stage = Stage::bare()?;
    stage.send_to(&Case::new("search: the sender", STAYS, "wrong token from"), |sender| {
        let mut stream = connect(sender)?;
        let own = Own::new(Side::Receiver, WRONG);
        let theirs: Hello = read(&mut stream)?;
        stream.write_all(&own.hello)?;
        stream.write_all(&own.keys(&theirs, WRONG)?.confirmation())?;
        let answer: [u8; 34] = read(&mut stream)?;
        ensure!(answer == *[&[1, 2][..], &[0; 32]].concat(), "the answer was {answer:x?}");
        // Nor does the answer fit any candidate as a proof.
        let candidates = candidates(&token_of(sender)?, 40);
        let shared = own.shared(&theirs);
        let found = search(&candidates, |token| {
            let k = own.unblinded(&theirs, &password(token)).unwrap() * own.scalar;
            let keys = own.keys_from(shared, &theirs, token, &compress(&k));
            (0..3).any(|verdict| keys.answer(verdict)[2..] == answer[2..])
        });
        ensure!(found.is_empty(), "a search off line found {found:?}");
        Ok(None)
    })?;
    Ok(())
}

/// The control: the handshake without SPAKE2, the token as HKDF's salt alone. The impostor answers
/// once, and the same search finds the token.
#[test]
fn without_a_pake_the_search_finds_the_token() -> Result<()> {
    let (impostor, victim): ([u8; 32], [u8; 32]) = (rand::random(), rand::random());
    let public = x25519(impostor, X25519_BASEPOINT_BYTES);
    let theirs = x25519(victim, X25519_BASEPOINT_BYTES);
    let transcript = sha256(&[&public, &theirs]);
    // What an honest receiver would send.
    let honest = Keys::new(TOKEN, &x25519(victim, public), &transcript).confirmation();
    // What the impostor makes of it.
    let shared = x25519(impostor, theirs);
    let found = search(&candidates(TOKEN, 120), |token| {
        Keys::new(token, &shared, &transcript).confirmed_by(&honest)
    });
    ensure!(found == [TOKEN], "the control found {found:?}");
    Ok(())
}

/// The control: SPAKE2 with an M whose logarithm the impostor knows.
#[test]
fn with_a_known_logarithm_the_search_finds_the_token() -> Result<()> {
    let m = Scalar::from_bytes_mod_order_wide(&rand::random());
    let (own, victim) = (
        Own::with(Side::Sender, |x| compress(&Curve::basepoint_mult(x))),
        Own::new(Side::Receiver, TOKEN),
    );
    // What a receiver with this M would compute, and send.
    let element = Curve::bytes_to_element(&own.hello[43..]).unwrap();
    let k = (element - Curve::basepoint_mult(&m) * password(TOKEN)) * victim.scalar;
    let keys = victim.keys_with(&own.hello, TOKEN, &compress(&k));
    let proof = hmac(&keys.derived("receiver confirms"), &[&keys.transcript, &ID]);
    let confirmation = [&ID[..], &proof].concat().try_into().unwrap();
    let x = own.scalar;
    let recording = Recording { own, theirs: victim.hello, confirmation };
    // X is of any password w, with another scalar for each.
    let found = recording.search(&candidates(TOKEN, 40), &torsion()[..1], |w| x - m * w);
    ensure!(found == [TOKEN], "the control found {found:?}");
    Ok(())
}
