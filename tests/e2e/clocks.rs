//! Clocks that are wrong: two days ahead, two days behind.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::serving::House;
use crate::util::process::{Pipe, Process, run};
use crate::util::skip;

/// What makes a program see another time, or nothing (with the reason told) where it is not installed.
fn faked() -> Result<Option<String>> {
    let library = Command::new("faketime").args(["-f", "+0d", "printenv", "LD_PRELOAD"]).output();
    let Ok(library) = library else {
        skip("there is no faketime; scripts/setup --test installs it");
        return Ok(None);
    };
    ensure!(library.status.success(), "{library:?}");
    Ok(Some(String::from_utf8(library.stdout)?.trim().to_owned()))
}

/// The command, some time from now.
fn at(mut command: Command, library: &str, offset: &str) -> Command {
    command.env("LD_PRELOAD", library).env("FAKETIME", offset);
    // How long something takes is none of it.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// A pinned key is that whatever the clocks say; of a certificate that a CA has signed, it is said what is wrong.
#[test]
fn a_pinned_device_needs_no_clock() -> Result<()> {
    let Some(library) = faked()? else { return Ok(()) };
    let house = House::new()?;
    house.run("attic", &["ca", "init", "home"])?.expect(0)?;
    let mut shows = Process::start(
        // By the name its CA vouches for the place where it is dialled.
        house.command("attic", &["pair", "--pod", "--port", "0", "--name", "127.0.0.1", "--join"]),
    )?;
    let line = shows.wait_for(Pipe::Out, "transfer pair ")?;
    let ticket = line.trim().strip_prefix("transfer pair ").context("a ticket")?.to_owned();
    house.run("nas", &["pair", "--pod", "--name", "attic", "--join", &ticket])?.expect(0)?;
    shows.end()?.expect(0)?;
    // One that attic does not know but by the CA.
    let id = house.run("nas", &["device", "--json"])?.expect(0)?.stdout;
    let id: serde_json::Value =
        serde_json::from_str(id.lines().find(|it| it.contains("\"this\"")).context("it")?)?;
    let id = id["id"].as_str().context("an id")?;
    house.run("laptop", &["trust", "import", "attic-config/ca/ca.pem"])?.expect(0)?;
    house.run("nas", &["trust", "import", "laptop-config/device.pem"])?.expect(0)?;

    let now = house.serve("attic", &["--port", "0"])?;
    for offset in ["+2d", "-2d", "+9000d"] {
        // The clock of the client, and then that of the server.
        let command = house.send("laptop", &now, &["photos"]);
        run(at(command, &library, offset))?.expect(0).context(offset)?;
        house.arrived("laptop/photos")?;
        std::fs::remove_dir_all(house.path("incoming/laptop/photos"))?;
        let words = ["serve", "--pod", "incoming", "--port", "0"];
        let mut server = Process::start(at(house.command("attic", &words), &library, offset))?;
        let line = server.wait_for(Pipe::Err, " takes uploads into ")?;
        let port = line.split(" on port ").nth(1).and_then(|rest| rest.split(' ').next());
        let place = format!("127.0.0.1:{}", port.context("a port")?);
        house
            .run("laptop", &["send", "-y", "--to", &place, "photos"])?
            .expect(0)
            .context(offset)?;
        house.arrived("laptop/photos")?;
        std::fs::remove_dir_all(house.path("incoming/laptop/photos"))?;
        server.interrupt()?;
        server.end()?.expect(0)?;
    }
    now.stop()?;

    // The other way round, by the CA alone: laptop has not pinned nas.
    let known = house.run("laptop", &["trust", "list"])?.expect(0)?.stdout;
    ensure!(!known.contains(&id[..16]), "{known}");
    let nas = house.serve("nas", &["--port", "0"])?;
    run(house.send("laptop", &nas, &["photos"]))?.expect(0)?;
    for (offset, said) in [
        ("-2d", "127.0.0.1's certificate begins in 1 day: one of the two clocks is wrong"),
        ("+1000d", "127.0.0.1's certificate ended "),
    ] {
        let command = house.send("laptop", &nas, &["photos"]);
        run(at(command, &library, offset))?.expect(4).context(offset)?.says(said)?;
    }
    // Within its 397 days a clock may be ahead.
    let command = house.send("laptop", &nas, &["photos"]);
    run(at(command, &library, "+2d"))?.expect(0)?;
    nas.stop().map(drop)
}
