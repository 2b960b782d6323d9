//! Direct mode, without a relay, over 127.0.0.1. With relays and NATs it is in `tests/direct`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::util::process::{Pipe, Process, receiving, run, transfer};
#[cfg(unix)]
use crate::util::terminal::Terminal;
use crate::util::tree::{Scratch, ensure_arrived, noise, write};

/// A sender without a relay, and its ticket with the address of this machine that always is there.
fn sender(from: &Scratch, options: &[&str]) -> Result<(Process, String)> {
    write(&from.join("tree/large"), noise(20 << 20, 1))?;
    write(&from.join("tree/small"), b"small")?;
    let mut command = transfer();
    command.args(["send", "-y", "--direct", "--relay", "none", "--port", "0"]).args(options);
    command.arg(from.join("tree"));
    let mut sender = Process::start(command)?;
    let line = sender.wait_for(Pipe::Out, "")?;
    let ticket = line.trim().strip_prefix("transfer receive ").context("no ticket")?;
    let (words, place) = ticket.split_once('@').context("no address")?;
    let port = place.rsplit_once(':').context("no port")?.1;
    Ok((sender, format!("{words}@127.0.0.1:{port}")))
}

#[test]
fn a_tree_crosses_without_a_relay() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (mut sender, ticket) = sender(&from, &[])?;
    sender.wait_until_said("direct, without a relay: anybody may connect who gets here")?;
    let received = run(receiving(&ticket, into.path(), &["-v"]))?.expect(0)?;
    // A machine has several addresses, and another may be quicker than the one that was dialled.
    received.says("connected: directly to ")?;
    received.says("0 B went through a relay, 2")?;
    sender.end()?.expect(0)?.says("connected: directly to ")?;
    ensure_arrived(into.path(), &[&from.join("tree")])
}

#[test]
fn programs_learn_of_the_way() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (sender, ticket) = sender(&from, &[])?;
    let received = run(receiving(&ticket, into.path(), &["--json"]))?.expect(0)?;
    sender.end()?.expect(0)?;
    let events: Vec<Value> =
        received.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let path = events.iter().find(|it| it["event"] == "path").context("no event `path`")?;
    let address = path["address"].as_str().unwrap_or_default().parse::<std::net::IpAddr>();
    ensure!(path["via"] == "direct" && address.is_ok(), "{path}");
    let end = events.last().context("no last line")?;
    ensure!(end["relayed_bytes"] == 0, "{end}");
    // The content, and what frames it.
    ensure!(end["direct_bytes"].as_u64() > Some(20 << 20), "{end}");
    ensure_arrived(into.path(), &[&from.join("tree")])
}

/// Three in all, and then the offer is over.
#[test]
fn guesses_are_counted() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (sender, ticket) = sender(&from, &[])?;
    let (words, place) = ticket.split_once('@').context("no address")?;
    let wrong = if words == "ocean-tiger" { "tiger-ocean" } else { "ocean-tiger" };
    for left in [2, 1] {
        let guess = run(receiving(&format!("{wrong}@{place}"), into.path(), &[]))?.expect(4)?;
        guess.says("wrong token")?;
        guess.says(&format!("it forgives {left} more"))?;
    }
    run(receiving(&format!("{wrong}@{place}"), into.path(), &[]))?.expect(4)?;
    sender.end()?.expect(4)?.says("the offer has ended after 3 wrong tokens")
}

#[test]
fn a_killed_receiver_goes_on() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let (mut sender, ticket) = sender(&from, &["--limit", "8M"])?;
    let mut command = receiving(&ticket, into.path(), &["--json"]);
    command.env("RUST_BACKTRACE", "0");
    let mut first = Process::start(command)?;
    first.wait_for(Pipe::Out, "\"progress\"")?;
    first.kill()?;
    sender.wait_until_said("waiting for it to come back")?;
    run(receiving(&ticket, into.path(), &[]))?.expect(0)?.says("Resuming transfer")?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&from.join("tree")])
}

#[test]
fn nobody_there_is_said() -> Result<()> {
    let into = Scratch::new()?;
    // The discard port, where nobody is.
    let ended = run(receiving("ocean-tiger@127.0.0.1:9", into.path(), &[]))?.expect(5)?;
    ended.says("127.0.0.1:9 did not answer in 30 s")?;
    ended.says("is UDP port 9 open, or forwarded to it?")
}

/// What the command line says is wrong before anything is sent.
#[test]
fn what_makes_no_sense() -> Result<()> {
    let into = Scratch::new()?;
    for (ticket, options, said) in [
        ("ocean-tiger", &[][..], "this is only the token: a direct ticket has four words or more"),
        ("maple-river-ocean-tiger", &["--relay", "none"], "that ticket needs a relay"),
        ("ocean-tiger@127.0.0.1:9", &["--relay-only"], "--relay-only needs a relay"),
        ("maple-river-ocean-tiger", &["--relay", "a b"], "\"a b\" is no relay"),
        // What would do nothing is not taken for something that was done.
        ("192.0.2.1:ocean-tiger", &["--relay-only"], "--relay-only needs a relay"),
        ("192.168.1.9:ocean-tiger", &["--relay-only"], "--relay-only needs a relay"),
        ("ocean-tiger@127.0.0.1:9", &["--relay", "a.b"], "--relay does nothing for that ticket"),
        ("127.0.0.1:9:ocean-tiger", &["--relay", "a.b"], "--relay does nothing for that ticket"),
    ] {
        run(receiving(ticket, into.path(), options))?.expect(2)?.says(said)?;
    }
    let mut command = transfer();
    command.args(["send", "--direct", "--relay", "none", "--relay-only", "Cargo.toml"]);
    run(command)?.expect(2)?.says("--relay-only needs a relay, and --relay none has none")?;
    let mut command = transfer();
    command.args(["send", "--direct", "--relay-only", "Cargo.toml"]).env("TRANSFER_RELAY", "none");
    run(command)?.expect(2)?.says("--relay-only needs a relay, and $TRANSFER_RELAY is \"none\"")?;
    let own = Scratch::new()?;
    let token = own.join("token");
    write(&token, "ocean-tiger\n")?;
    #[cfg(unix)]
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = transfer();
    command.args(["send", "--direct", "--relay-token-file"]).arg(&token).arg("Cargo.toml");
    command.env("TRANSFER_RELAY", "none");
    run(command)?
        .expect(2)?
        .says("--relay-token-file needs a relay, and $TRANSFER_RELAY is \"none\"")?;
    // What cannot be a token is not left away.
    let mut command = receiving("maple-river-ocean-tiger", into.path(), &["--relay", "a.b"]);
    command.env("TRANSFER_RELAY_TOKEN", "ocean tiger");
    run(command)?.expect(2)?.says("$TRANSFER_RELAY_TOKEN holds no token of a relay")?;
    for options in
        [&["--relay-only"][..], &["--relay-only", "--lan"], &["--relay-only", "--tailnet"]]
    {
        let mut command = transfer();
        command.arg("send").args(options).arg("Cargo.toml");
        run(command)?.expect(2)?.says("--relay-only needs a relay, and without --direct")?;
    }
    let mut command = transfer();
    command.args(["send", "--token-file", "token", "Cargo.toml"]).env("TRANSFER_WAY", "direct");
    run(command)?.expect(2)?.says("a direct ticket has words of its own")?;
    let mut command = transfer();
    command.args(["send", "--token-file", "token", "--relay", "a.b", "Cargo.toml"]);
    run(command)?.expect(2)?.says("cannot be used with")?;
    let mut command = receiving("maple-river-ocean-tiger", into.path(), &[]);
    command.env("TRANSFER_RELAY", "none");
    run(command)?.expect(2)?.says("that ticket needs a relay, and $TRANSFER_RELAY is \"none\"")
}

/// A script never begins to use the relays of others because Tailscale is not there.
#[test]
fn a_script_is_not_sent_over_the_internet_unasked() -> Result<()> {
    let mut command = transfer();
    command.args(["send", "Cargo.toml"]);
    let ended = run(command)?.expect(5)?;
    ended.says("`send --direct` between any two")?;
    let mut command = transfer();
    command.args(["send", "--tailnet", "Cargo.toml"]);
    run(command)?.expect(5)?.says("which is no program")?;
    let mut command = transfer();
    command.args(["send", "Cargo.toml"]).env("TRANSFER_WAY", "somewhere");
    run(command)?.expect(2)?.says("TRANSFER_WAY is \"somewhere\"")
}

/// A person is asked, and told through whom; what happens then is what was answered.
#[cfg(unix)]
#[test]
fn where_there_is_no_tailnet_a_person_is_asked() -> Result<()> {
    let from = Scratch::new()?;
    let file = from.join("file");
    write(&file, "content")?;
    for (keys, relay, through, code) in [
        (b"n", "none", "send over the internet, without a relay? [Y/n]", 5),
        (b"y", "none", "send over the internet, without a relay? [Y/n]", 5),
        (b"n", "", "send over the internet, through n0's public relays? [Y/n]", 5),
    ] {
        let mut terminal = Terminal::new()?;
        let mut command = transfer();
        command.args(["send", "--timeout", "1s"]).arg(&file).env("TRANSFER_RELAY", relay);
        let process = terminal.start(command)?;
        terminal.wait_for(through)?;
        terminal.answer(keys)?;
        process.end()?.expect(code)?;
        let screen = terminal.read()?;
        ensure!(screen.contains("no receiver came within 1 s") == (keys == b"y"), "{screen:?}");
    }
    Ok(())
}
