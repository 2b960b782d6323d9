//! Who is not let in, and what is said: wrong words, a relay that refuses or cannot be trusted, idle visitors.

use anyhow::Result;
use iroh::endpoint::presets;
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, RelayUrl, SecretKey};
use transfer::net::plate::Plate;

use super::hosts::Hosts;
use super::relay::Relay;
use super::stage::{Internet, Nat};
use super::util::tree::{Scratch, ensure_arrived, write};

/// A ticket with other words in places.
fn with(ticket: &str, change: impl Fn(usize, &str) -> String) -> String {
    let (words, place) = ticket.split_once('@').expect("a relay");
    let words: Vec<String> =
        words.split('-').enumerate().map(|(at, word)| change(at, word)).collect();
    format!("{}@{place}", words.join("-"))
}

fn other(word: &str) -> String {
    if word == "ocean" { "tiger".into() } else { "ocean".into() }
}

#[test]
fn wrong_words() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let (sender, ticket) = hosts.send(&tree, &[])?;
    // Nobody is under that plate.
    let plate = with(&ticket, |at, word| if at == 0 { other(word) } else { word.into() });
    let told = hosts.receive(&plate, &[])?.end(5)?;
    told.ended.says("no sender answers to ")?;
    // Somebody is, who has another token.
    let token = with(&ticket, |at, word| if at == 2 { other(word) } else { word.into() });
    for _ in 0..3 {
        hosts.receive(&token, &[])?.end(4)?.ended.says("wrong token")?;
    }
    let told = sender.end(4)?;
    told.ended.says("the offer has ended after 3 wrong tokens")
}

#[test]
fn a_closed_relay_says_why_and_lets_in_who_has_a_token() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let tokens = Scratch::new()?;
    let file = tokens.join("tokens");
    write(&file, "ocean-tiger-ocean-tiger\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let options = ["--token-file", &*file.to_string_lossy()];
    let relay = Relay::start(&internet, "203.0.113.1", &options)?;
    let mut hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    for token in [None, Some("another-token-of-somebody")] {
        hosts.token = token.map(str::to_owned);
        let told = hosts.send_without_ticket(&tree)?.end(5)?;
        told.ended.says("refuses: ")?;
        told.ended.says("the relay wants a token")?;
    }
    hosts.token = Some("ocean-tiger-ocean-tiger".into());
    let (sender, ticket) = hosts.send(&tree, &[])?;
    assert!(!ticket.contains("ocean-tiger-ocean"));
    // A ticket may name any relay: the token is shown to those alone that its owner has named.
    let told = hosts.receive(&ticket, &[])?.end(5)?;
    told.ended.says("is shown to relays that --relay or $TRANSFER_RELAY names")?;
    // A file has it as well as the environment; one that others may read is none.
    hosts.token = None;
    let with_file = ["--relay", &relay.url(), "--relay-token-file", &*file.to_string_lossy()];
    let open = tokens.join("open");
    write(&open, "ocean-tiger-ocean-tiger\n")?;
    let with_open = ["--relay", &relay.url(), "--relay-token-file", &*open.to_string_lossy()];
    hosts.receive(&ticket, &with_open)?.end(2)?;
    let told = hosts.receive(&ticket, &with_file[2..])?.end(2)?;
    told.ended.says("--relay-token-file does nothing: no relay is named here")?;
    hosts.receive(&ticket, &with_file)?.end(0)?;
    sender.end(0)?;
    ensure_arrived(&hosts.place(), &[&tree])
}

#[test]
fn a_relay_whose_certificate_nobody_knows_is_not_used() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let trusted = Relay::start(&internet, "203.0.113.2", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    hosts.trust(&[&trusted])?;
    let told = hosts.send_without_ticket(&tree)?.end(5)?;
    told.ended.says("the certificate of 203.0.113.1 is not valid")
}

/// The key under which the sender of a ticket is found.
fn key_of(ticket: &str) -> Result<SecretKey> {
    let words = ticket.split('@').next().unwrap_or_default();
    let plate = words.split('-').take(2).collect::<Vec<_>>().join("-");
    Ok(SecretKey::from_bytes(&Plate::parse(&plate)?.seed()))
}

/// An endpoint that takes its place at a relay.
async fn endpoint_at(url: RelayUrl, der: Vec<u8>, key: Option<SecretKey>) -> Result<Endpoint> {
    let relays: RelayMap = std::iter::once(iroh::RelayConfig::from(url)).collect();
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Custom(relays))
        .ca_tls_config(iroh::tls::CaTlsConfig::custom_roots([der.into()]));
    let builder = match key {
        Some(key) => builder.secret_key(key).alpns(vec![b"transfer/2".to_vec()]),
        None => builder,
    };
    Ok(builder.bind().await?)
}

/// Two with one plate: the relay hands everything to the newer, and the older says so.
#[test]
fn a_sender_whose_plate_is_taken_says_so() -> Result<()> {
    let Some(internet) = Internet::new(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let log = hosts.scratch.join("log");
    let (sender, ticket) = hosts.send(&tree, &["--log-file", &log.to_string_lossy()])?;
    let (key, url, der) = (key_of(&ticket)?, relay.url().parse::<RelayUrl>()?, relay.der.clone());
    let public = key.public();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let other = internet.at("b", move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let endpoint = endpoint_at(url, der, Some(key)).await?;
            let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
            endpoint.close().await;
            Ok(())
        })
    });
    let told = sender.end(5);
    drop(stop);
    other.join().expect("no panic")??;
    let told = told?;
    let plate = ticket.split('-').take(2).collect::<Vec<_>>().join("-");
    let sentence = format!("another machine took {plate} at the relay 203.0.113.1");
    let error = &told.one("end")?["error"];
    assert_eq!(error["message"], sentence);
    assert_eq!(error["hint"], "start again: a new ticket is drawn");
    // What the engine said is in the log, and neither the key nor the token.
    let log = std::fs::read_to_string(log)?;
    assert!(log.contains("the engine warns: Relay server reports problem: Another"), "{log}");
    for secret in [public.to_string(), public.fmt_short().to_string(), ticket] {
        assert!(!log.contains(&secret), "{secret}: {log}");
    }
    Ok(())
}

/// Who knows the plate can connect, and say nothing. A receiver gets in all the same.
#[test]
fn idle_visitors_keep_no_receiver_out() -> Result<()> {
    /// More than are looked at.
    const VISITORS: usize = 200;
    let Some(internet) = Internet::new(Nat::Full, Nat::Full)? else { return Ok(()) };
    let relay = Relay::start(&internet, "203.0.113.1", &[])?;
    let hosts = Hosts::new(&internet, &[&relay])?;
    let tree = hosts.scratch.join("tree");
    write(&tree.join("small"), "hello")?;
    let (sender, ticket) = hosts.send(&tree, &[])?;
    let id = key_of(&ticket)?.public();
    let (url, der) = (relay.url().parse::<RelayUrl>()?, relay.der.clone());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    // All that it opens is at that host.
    let crowd = internet.at("b", move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let endpoint = endpoint_at(url.clone(), der, None).await?;
            let there = EndpointAddr::new(id).with_relay_url(url);
            let mut visitors = vec![];
            for _ in 0..VISITORS {
                let connecting = endpoint.connect(there.clone(), b"transfer/2");
                let limit = std::time::Duration::from_secs(5);
                if let Ok(Ok(visitor)) = tokio::time::timeout(limit, connecting).await {
                    visitors.push(visitor);
                }
            }
            let _ = tell.send(visitors.len());
            // They stay until the receiver has been served.
            while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            endpoint.close().await;
            Ok(())
        })
    });
    let came = told.recv()?;
    assert!(came > 50, "only {came} of {VISITORS} came in");
    let received = hosts.receive(&ticket, &[])?.end(0);
    drop(stop);
    crowd.join().expect("no panic")??;
    received?;
    sender.end(0)?;
    ensure_arrived(&hosts.place(), &[&tree])
}
