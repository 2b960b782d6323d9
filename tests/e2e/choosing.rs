//! What of the named paths goes.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::util::process::{Sender, receiving, run};
use crate::util::tree::{Scratch, names, write};

/// The list is that of the moment when the receiver comes, not when the ticket appeared.
#[test]
fn what_is_added_while_the_receiver_is_awaited_arrives() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    write(&from.join("t/early"), "x")?;
    let sender = Sender::pod(&[&from.join("t")], &[])?;
    // A list counts as fresh for 2 s.
    sleep(Duration::from_millis(2500));
    write(&from.join("t/late"), "x")?;
    write(&from.join("t/early"), "has grown")?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?;
    assert_eq!(names(&into.join("t"))?, ["early", "late"].map(PathBuf::from).into());
    assert_eq!(fs::read_to_string(into.join("t/early"))?, "has grown");
    Ok(())
}
