//! `transfer pair`: with the token alone the machine that shows it is found, and nothing of the token is announced.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use transfer::net::mdns::Record;

use super::finding::announce_as;
use super::serving::Home;
use super::stage::{Avahi, Lan, until};
use super::util::process::{Pipe, Process, run};
use super::util::terminal::Terminal;
use super::util::tree::write;

/// A machine that shows a token, and the token.
pub fn shows(home: &Home<'_>, device: &str, options: &[&str]) -> Result<(Process, String)> {
    let mut process = Process::start(home.command(device, &[&["pair"], options].concat()))?;
    let line = process.wait_for(Pipe::Out, "transfer pair ")?;
    let token = line.trim().rsplit(':').next().context("a token")?.to_owned();
    process.wait_until_said("in this local network the words behind the last colon will do")?;
    Ok((process, token))
}

/// By an address of the link, which is another machine's on each: what was found says on which.
#[test]
fn a_token_is_found_at_an_address_of_the_link() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    for machine in ["a", "b"] {
        lan.ip(machine, "address flush dev eth0 scope global")?;
    }
    let home = Home::new(&lan)?;
    let (attic, token) = shows(&home, "a", &["--name", "laptop"])?;
    let said = types(&home, "b", &["--name", "attic", &token], 0)?;
    ensure!(said.contains(" at [fe80::"), "{said}");
    attic.end()?.expect(0).map(drop)
}

/// `pair TOKEN`, once the machine that shows it can be seen.
pub fn types(home: &Home<'_>, device: &str, words: &[&str], code: i32) -> Result<String> {
    let words = [&["pair"], words].concat();
    until("the machine that shows the token", || {
        let ended = home.run(device, &words)?;
        // Its announcement takes a moment.
        let is_early = ended.stderr.contains("no machine of the local network shows a token");
        Ok((!is_early).then(|| ended.expect(code).map(|it| it.stderr)))
    })?
}

#[test]
fn a_token_alone_finds_who_shows_it() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    // By one address alone, or any of them may be the first to answer.
    for machine in ["a", "c"] {
        lan.ip(machine, "-6 address flush dev eth0")?;
    }
    let home = Home::new(&lan)?;
    let nobody = home.run("b", &["pair", "ocean-tiger"])?.expect(5)?;
    nobody.says("no machine of the local network shows a token to pair with")?;
    nobody.says("HOST:TOKEN, needs no search")?;
    let (attic, token) = shows(&home, "a", &["--name", "laptop"])?;
    // A wrong one costs a guess there, as ever.
    types(&home, "b", &["ocean-tiger"], 4)?;
    let said = types(&home, "b", &["--name", "attic", &token], 0)?;
    ensure!(said.contains("at 192.168.77.1:15820"), "{said}");
    ensure!(said.contains("paired with attic ("), "{said}");
    attic.end()?.expect(0)?.says("paired with laptop (")?;
    // It is gone with it.
    home.run("c", &["pair", &token])?.expect(5)?;
    // They are no servers.
    let _shows = shows(&home, "c", &[])?;
    home.run("b", &["find", "--all"])?.expect(5)?.says("no server was found")?;
    Ok(())
}

/// Of several none is tried: that would cost each a guess.
#[test]
fn several_that_wait_are_told() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    // By one address alone, or any of them may be the first to answer.
    for machine in ["a", "c"] {
        lan.ip(machine, "-6 address flush dev eth0")?;
    }
    let home = Home::new(&lan)?;
    let (attic, token) = shows(&home, "a", &["--name", "laptop"])?;
    let (cellar, _) = shows(&home, "c", &["--name", "laptop", "--port", "15999"])?;
    let told = until("both", || {
        let told = home.run("b", &["pair", "ocean-tiger"])?;
        Ok(told.stderr.contains("several machines").then_some(told))
    })?
    .expect(2)?;
    told.says("(192.168.77.1:15820)")?;
    told.says("(192.168.77.3:15999)")?;
    told.says("type the whole ticket")?;
    // Where somebody can be asked, the number is typed.
    let mut terminal = Terminal::new()?;
    let process = terminal.start(home.command("b", &["pair", "--name", "attic", &token]))?;
    let listed = terminal.wait_for("which?")?;
    let line =
        listed.lines().find(|line| line.contains("(192.168.77.1)")).context(listed.clone())?;
    let number = line.trim_start().chars().next().context("a number")?;
    terminal.answer(format!("{number}\r").as_bytes())?;
    process.end()?.expect(0)?;
    attic.end()?.expect(0)?;
    // The other has heard of no guess.
    cellar.interrupt()?;
    let cellar = cellar.end()?;
    ensure!(!cellar.stderr.contains("wrong token"), "{cellar:?}");
    Ok(())
}

/// What strangers announce: nobody there, a port that says nothing, another program. None of it is taken for a
/// machine that waits.
#[test]
fn records_that_lead_nowhere_are_no_machines() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    let _silent = lan.at("c", || anyhow::Ok(TcpListener::bind("192.168.77.3:9999")?))??;
    let _records = [("nobody", 9), ("silent", 9999)]
        .map(|(name, port)| announce_as(&lan, "c", Record::of_pairing(name, port, 2).unwrap()));
    let (attic, token) = shows(&home, "a", &["--name", "laptop"])?;
    types(&home, "b", &["--name", "attic", &token], 0)?;
    attic.end()?.expect(0)?;
    Ok(())
}

/// Whoever answers first is not taken as long as somebody who was seen may still answer: four places that let
/// everybody wait, two at a time, keep the next one at that machine back for longer than others are waited for.
#[test]
fn whoever_answers_first_is_not_alone() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    // By one address alone, or any of them may be the first to answer.
    for machine in ["a", "c"] {
        lan.ip(machine, "-6 address flush dev eth0")?;
    }
    let home = Home::new(&lan)?;
    let (mut silent, mut records) = (vec![], vec![]);
    for port in 9001..9005 {
        silent.push(lan.at("c", move || TcpListener::bind(("192.168.77.3", port)))??);
        // In the order of their names they come before the one that waits.
        let record = Record::of_pairing(&format!("!{port}"), port, 2)?;
        records.push(announce_as(&lan, "c", record)?);
    }
    let (_cellar, _) = shows(&home, "c", &["--port", "15999"])?;
    let (_attic, _) = shows(&home, "a", &[])?;
    let told = until("both", || {
        let told = home.run("b", &["pair", "ocean-tiger"])?;
        let is_early = told.stderr.contains("no machine of the local network shows a token");
        Ok((!is_early).then_some(told))
    })?
    .expect(2)?;
    told.says("(192.168.77.1:15820)")?;
    told.says("(192.168.77.3:15999)")?;
    Ok(())
}

/// All that others see.
#[test]
fn nothing_of_the_token_is_announced() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let Some(avahi) = Avahi::start(&lan, "b")? else { return Ok(()) };
    let home = Home::new(&lan)?;
    let card = home.card("a")?;
    let id = card["id"].as_str().context("an id")?.to_owned();
    let (attic, token) = shows(&home, "a", &[])?;
    let args = ["--parsable", "--resolve", "--terminate", "--no-db-lookup", "_transfer-pair._tcp"];
    let seen = until("the record", || {
        let seen = run(avahi.program("avahi-browse", &args))?.expect(0)?.stdout;
        Ok(seen.lines().any(|line| line.starts_with('=')).then_some(seen))
    })?;
    for line in seen.lines().filter(|line| line.starts_with('=')) {
        let fields: Vec<&str> = line.split(';').collect();
        assert_eq!(fields[8], "15820", "{line}");
        let values: Vec<&str> = fields[9].split('"').filter(|it| !it.trim().is_empty()).collect();
        assert_eq!(values.len(), 2, "{line}");
        ensure!(values.contains(&"v=2") && values.iter().any(|it| it.starts_with("id=")), "{line}");
    }
    let words = token.split('-').chain([&id[..16]]);
    for word in words {
        ensure!(!seen.contains(word), "{word} in {seen}");
    }
    attic.interrupt()?;
    attic.end()?.expect(130)?;
    until("its goodbye", || {
        let seen = run(avahi.program("avahi-browse", &args))?.expect(0)?.stdout;
        Ok((!seen.contains("_transfer-pair")).then_some(()))
    })
}

/// Two that have joined one CA find each other by their names, and have never met.
#[test]
fn who_has_joined_is_found_and_sent_to() -> Result<()> {
    let Some(lan) = Lan::new()? else { return Ok(()) };
    let home = Home::new(&lan)?;
    home.run("a", &["ca", "init", "home"])?.expect(0)?;
    for (device, name) in [("b", "nas"), ("c", "desk")] {
        let (attic, token) = shows(&home, "a", &["--join", "--name", name])?;
        types(&home, device, &["--join", "--name", "attic", &token], 0)?;
        attic.end()?.expect(0)?.says(&format!("{name} has joined \"home\" as {name}"))?;
    }
    let mut server = home.serve("b", "incoming", &[])?;
    let found = home.found("c", 1, &[])?;
    assert_eq!(found[0]["name"], "nas", "{found:?}");
    home.run("c", &["send", "-y", "--to", "nas", "tree"])?.expect(0)?;
    home.arrived("incoming/desk")?;
    // And by the address that it had then.
    let again = home.run("c", &["send", "-y", "--to", "192.168.77.2", "tree"])?.expect(0)?;
    again.says("already there")?;
    // Another name, while it serves: it is announced so, and says so.
    let request = home.run("b", &["device", "--csr"])?.expect(0)?.stdout;
    write(&home.path("loft.csr"), request)?;
    home.run("a", &["ca", "issue", "loft", "--csr", "loft.csr"])?.expect(0)?;
    home.run("b", &["device", "--install", "loft.pem"])?.expect(0)?;
    server.wait_until_said("loft takes uploads into incoming on port 15821")?;
    until("its new name", || {
        let found = home.run("c", &["find"])?;
        Ok((found.stdout.starts_with("loft (") && found.stdout.lines().count() == 1).then_some(()))
    })
}
