//! `transfer pair --join`: a device joins the CA of the other, and all devices of that CA trust it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::serving::House;
use crate::util::process::{Ended, Pipe, Process, Sender, receiving, run};
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, write};

impl House {
    /// One device shows a token, and the other types it: how both ended.
    fn pairs(&self, one: (&str, &[&str]), other: (&str, &[&str])) -> Result<[Ended; 2]> {
        let words = [&["pair", "--pod", "--port", "0", "--name", other.0], one.1].concat();
        let mut shows = Process::start(self.command(one.0, &words))?;
        let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
        let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?;
        let words = [&["pair", "--pod", "--name", one.0], other.1, &[ticket]].concat();
        let types = self.run(other.0, &words)?;
        Ok([shows.end()?, types])
    }

    /// What a list holds, by kind and name.
    fn cards(&self, device: &str, words: &[&str]) -> Result<Vec<(String, String)>> {
        let told = self.run(device, &[words, &["--json"]].concat())?.expect(0)?.stdout;
        let cards =
            told.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let text = |card: &Value, key: &str| card[key].as_str().unwrap_or_default().to_owned();
        let cards = cards.iter().filter(|card| card["event"] == "device");
        Ok(cards.map(|card| (text(card, "kind"), text(card, "name"))).collect())
    }

    fn has_joined(&self, device: &str) -> Result<bool> {
        let cas = self.cards(device, &["trust", "list"])?;
        let own = self.cards(device, &["device"])?;
        let [trusts, shows] = [
            cas.contains(&("ca".into(), "home".into())),
            own.iter().any(|(kind, _)| kind == "certificate"),
        ];
        ensure!(trusts == shows, "half a membership of {device}: {cas:?} {own:?}");
        Ok(trusts)
    }
}

/// Devices that have never met trust each other, as both have joined one CA.
#[test]
fn two_that_have_joined_need_no_pairing() -> Result<()> {
    let house = House::new()?;
    house.run("attic", &["ca", "init", "home"])?.expect(0)?;
    for (name, other) in [("nas", "desk"), ("desk", "nas")] {
        let [shows, types] = house.pairs(("attic", &["--join"]), (name, &["--join"]))?;
        let shows = shows.expect(0)?;
        shows.says(&format!("paired with {name} ("))?;
        shows.says(&format!("{name} has joined \"home\" as {name}, until "))?;
        let types = types.expect(0)?;
        types.says(&format!("this device has joined \"home\" as {name}, until "))?;
        ensure!(house.has_joined(name)?, "{types:?}");
        let known = house.cards(name, &["trust", "list"])?;
        ensure!(!known.iter().any(|(_, name)| name == other), "they know each other: {known:?}");
        ensure!(!house.path(&format!("{name}-config/ca")).exists(), "the CA itself has come along");
    }
    let issued = fs::read_to_string(house.path("attic-config/ca/issued.jsonl"))?;
    let names: Vec<Value> = issued
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context(issued.clone())?;
    let names: Vec<&str> = names.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["nas", "desk"]);
    let listed = house.cards("attic", &["ca", "list"])?;
    ensure!(listed.contains(&("issued".into(), "nas".into())), "{listed:?}");

    let id = |name: &str| -> Result<String> {
        let said = house.run(name, &["device", "--json"])?.expect(0)?.stdout;
        let line = said.lines().find(|it| it.contains("\"this\"")).context("it")?;
        let card: Value = serde_json::from_str(line)?;
        Ok(card["id"].as_str().context("an id")?.to_owned())
    };
    // One serves, and the other sends. No certificate is for this address, which is everybody's.
    let server = house.serve("nas", &["--port", "0"])?;
    let to = ["--fingerprint", &id("nas")?, "photos"];
    run(house.send("desk", &server, &["photos"]))?.expect(4)?.says("not for 127.0.0.1")?;
    run(house.send("desk", &server, &to))?.expect(0)?;
    house.arrived("desk/photos")?;
    // Without the CA none of that: laptop is paired with attic alone.
    run(house.send("laptop", &server, &to))?.expect(4)?;
    // A joined device is one like any other: it can be removed.
    house.run("nas", &["trust", "remove", "--yes", &id("desk")?])?.expect(0)?;
    run(house.send("desk", &server, &to))?.expect(4)?;
    server.stop()?.says("was removed from this device")
}

/// Who joins, where nobody or somebody can be asked, on either side.
#[test]
fn both_sides_say_yes_or_nobody_joins() -> Result<()> {
    let rows: [(&[&str], &[&str], bool, &str, &str); 5] = [
        (&["--join"], &["--join"], true, "nas has joined \"home\"", "this device has joined"),
        (
            &["--join"],
            &[],
            false,
            "nas has not joined \"home\"",
            "attic lets this device join its CA \"home\"",
        ),
        (&[], &["--join"], false, "paired with", "this device has joined no CA: attic has none"),
        (&[], &[], false, "paired with", "paired with"),
        // An older program pairs as ever.
        (
            &["--join"],
            &["--join", "--without", "join"],
            false,
            "the program of nas is too old for it",
            "the program of attic is too old for it",
        ),
    ];
    for (one, other, joins, shown, typed) in rows {
        let house = House::new()?;
        house.run("attic", &["ca", "init", "home"])?.expect(0)?;
        let [shows, types] = house.pairs(("attic", one), ("nas", other))?;
        let row = format!("{one:?} {other:?}");
        shows.expect(0)?.says(shown).context(row.clone())?;
        types.expect(0)?.says(typed).context(row.clone())?;
        ensure!(house.has_joined("nas")? == joins, "{row}");
        let issued = house.cards("attic", &["ca", "list"])?.len();
        ensure!(issued == if joins { 2 } else { 1 }, "{row}: {issued}");
        let known = house.cards("attic", &["trust", "list"])?;
        ensure!(known.contains(&("device".into(), "nas".into())), "{row}: {known:?}");
    }
    Ok(())
}

/// On terminals both are asked, and say no unless they say yes.
#[test]
fn on_a_terminal_it_is_asked() -> Result<()> {
    for (lets, joins) in [(b"y", b"y"), (b"n", b"y"), (b"y", b"n")] {
        let house = House::new()?;
        house.run("attic", &["ca", "init", "home"])?.expect(0)?;
        let mut one = Terminal::new()?;
        let words = ["pair", "--pod", "--port", "0", "--name", "nas"];
        let mut shows = one.start(house.command("attic", &words))?;
        let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
        let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?.to_owned();
        let mut other = Terminal::new()?;
        let words = ["pair", "--pod", "--name", "attic", &ticket];
        let types = other.start(house.command("nas", &words))?;
        one.wait_for("let nas (")?;
        one.wait_for("[y/N]")?;
        one.answer(lets)?;
        if lets == b"y" {
            other.wait_for("join \"home\", the CA of attic")?;
            other.wait_for("[y/N]")?;
            other.answer(joins)?;
        }
        types.end()?.expect(0)?;
        shows.end()?.expect(0)?;
        ensure!(house.has_joined("nas")? == (lets == b"y" && joins == b"y"), "{lets:?} {joins:?}");
    }
    Ok(())
}

/// What cannot be used is said before anybody types anything.
#[test]
fn a_ca_that_cannot_be_used_is_told_first() -> Result<()> {
    let house = House::new()?;
    house.run("attic", &["ca", "init", "home"])?.expect(0)?;
    fs::write(house.path("attic-config/ca/ca.pem"), "")?;
    let refused = house.run("attic", &["pair", "--pod", "--port", "0", "--join"])?.expect(2)?;
    ensure!(refused.stdout.is_empty(), "{refused:?}");
    Ok(())
}

/// A ticket that is typed behind the wrong command is told as that, and ends no offer.
#[test]
fn a_ticket_of_another_command_is_told() -> Result<()> {
    const TOLD: &str = "one side pairs and the other one transfers: the ticket was typed behind the wrong command\n";
    let (house, from, into) = (House::new()?, Scratch::new()?, Scratch::new()?);
    let mut shows = Process::start(house.command("attic", &["pair", "--pod", "--port", "0"]))?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?;
    run(receiving(ticket, into.path(), &[]))?.expect(1)?.says(TOLD)?;
    shows.end()?.expect(1)?.says(TOLD)?;

    write(&from.join("file"), "content")?;
    let mut sender = Sender::pod(&[&from.join("file")], &[])?;
    run(house.command("attic", &["pair", "--pod", &sender.ticket]))?.expect(1)?.says(TOLD)?;
    sender.process.wait_for(Pipe::Err, TOLD.trim_end())?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    Ok(())
}
