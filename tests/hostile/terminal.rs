//! Names and texts that would act on the terminal, hide, or turn what stands beside them: whoever
//! sends them, they are shown as escapes. That nothing of the kind is on stdout or stderr is looked
//! at in every row of every module; here it is everywhere that a name can be shown.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};

use crate::names::wait_for;
use crate::pty::AtTerminal;
use crate::script::{
    ENTRIES, Entry, Line, PLAN, RAW, control, data, failed, file, folder, link, page, raw, sized,
    whole,
};
use crate::shake::Side;
use crate::stage::{Case, Stage, TOKEN, all, ensure_clean};
use crate::util::process::{Sender, receiving, run, transfer};
use crate::util::terminal::plain;
use crate::util::tree::{Scratch, write};

/// Letters that are legal in a name, and must not be on a screen.
const ODD: [&str; 21] = [
    "\u{202e}",
    "\u{202d}",
    "\u{2066}",
    "\u{2067}",
    "\u{2069}",
    "\u{200e}",
    "\u{200f}",
    "\u{61c}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "\u{2029}",
    "\u{ad}",
    "\u{34f}",
    "\u{115f}",
    "\u{180e}",
    "\u{2800}",
    "\u{3164}",
    "\u{fe0f}",
    "\u{fff9}",
    "\u{e0041}",
];

/// Control characters: legal in a name of bytes.
const CONTROL: [&str; 9] =
    ["\u{1b}", "\n", "\r", "\t", "\u{1}", "\u{7}", "\u{7f}", "\u{85}", "\u{9b}"];

/// The same entry, with names of bytes where that is needed.
fn fit(entry: Entry) -> Entry {
    let is_control = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(char::is_control);
    if is_control(&entry.path) || is_control(&entry.target) { raw(entry) } else { entry }
}

/// The same as they are to be shown.
fn escaped(odd: &str) -> String {
    odd.escape_unicode().to_string()
}

/// Wherever a name of the list is shown.
#[test]
fn names_of_the_list() -> Result<()> {
    type Row = (&'static str, &'static [&'static str], fn(&str) -> Vec<Entry>, bool, i32);
    let alone: fn(&str) -> Vec<Entry> = |name| vec![file(name)];
    let all_kinds: fn(&str) -> Vec<Entry> = |name| {
        let (inside, beside) = (format!("{name}/x{name}"), format!("{name}l"));
        vec![folder(name), file(inside), link(beside, format!("{name}/{name}"))]
    };
    let rows: [Row; 7] = [
        ("received", &["-vv"], alone, false, 0),
        ("received, all kinds", &["-vv"], all_kinds, false, 0),
        ("taken", &["-vv"], alone, true, 0),
        ("taken, and kept", &["-vv", "--on-conflict", "skip"], alone, true, 0),
        ("taken, and replaced", &["-vv", "--on-conflict", "overwrite"], alone, true, 0),
        ("taken, and refused", &["-vv", "--on-conflict", "fail"], alone, true, 7),
        ("quiet", &["-q", "--on-conflict", "fail"], alone, true, 7),
    ];
    let odd = || ODD.into_iter().chain(CONTROL);
    let rows: Vec<_> = rows.iter().flat_map(|row| odd().map(move |odd| (row, odd))).collect();
    all(&rows, |((name, options, entries, taken, code), odd)| {
        let (stage, odd_name) = (Stage::new()?, format!("a{odd}b"));
        let entries: Vec<Entry> = entries(&odd_name).into_iter().map(fit).collect();
        if *taken {
            write(&stage.out().join(&odd_name), "mine")?;
        }
        let mut case = Case::new(format!("terminal: {name}, {}", escaped(odd)), *code, "");
        case.options = options.to_vec();
        let replaced = name.ends_with("replaced");
        case.left = match (taken, options.len()) {
            (false, _) => {
                entries.iter().map(|it| String::from_utf8(it.path.clone()).unwrap()).collect()
            }
            (true, 1) => vec![format!("{odd_name} (1)")],
            _ => vec![],
        };
        let changed: &'static str = odd_name.clone().leak();
        case.changed = if replaced { vec![changed] } else { vec![] };
        let ended = stage.receive(&case, |line| {
            line.offer(&entries)?;
            if *code == 7 {
                return Ok(());
            }
            let plan = line.hear_pages(PLAN)?;
            for (index, entry) in (0u32..).zip(&entries) {
                if entry.kind & !RAW == 0 && plan.is_empty() {
                    line.say(&data(&[whole(index)]))?;
                }
            }
            line.finish().map(drop)
        })?;
        let shown = ended.stderr.contains(&escaped(odd));
        ensure!(shown || name.ends_with("kept"), "{} is not shown: {ended:#?}", escaped(odd));
        Ok(())
    })
}

/// What the sender says it could not send, and what fails on the way.
#[test]
fn names_of_what_failed() -> Result<()> {
    let controls: Vec<String> =
        (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).map(String::from).collect();
    let all_odd: Vec<&str> = controls.iter().map(String::as_str).chain(ODD).collect();
    let text = |text: &str| serde_json::to_string(text).unwrap();
    let said = |names: &[(String, String)], unsent: u64| {
        let names: Vec<String> = names
            .iter()
            .map(|(name, why)| format!(r#"{{"name":{},"why":{}}}"#, text(name), text(why)))
            .collect();
        control(format!(
            r#"{{"type":"offer","files":1,"folders":0,"links":0,"bytes":27,"unsent":{unsent},"unsent_names":[{}]}}"#,
            names.join(",")
        ))
    };
    let fake = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\nerror: all is well\n\u{9b}31m".to_owned();
    let each: Vec<_> =
        all_odd.iter().map(|odd| (format!("x{odd}y"), format!("{odd}why"))).collect();
    let many = vec![("x".repeat(10), fake.clone()); 700];
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("every odd letter", said(&each, each.len() as u64), "\\u{1b}why"),
        ("a line of its own", said(&[(fake.clone(), fake.clone())], 1), "\\u{1b}]0;owned\\u{7}"),
        ("many", said(&many, 700), "\\u{d}\\u{a}error: all is well\\u{a}"),
        // None of them, by its own count.
        ("more than it says", said(&each, 0), "x\\u{202e}y: it vanished"),
        ("far less than it says", said(&each[..1], u64::MAX), "\\u{0}why"),
        ("one as long as can be", said(&[("\u{202e}".repeat(20_000), "x".into())], 1), "\\u{202e}"),
    ];
    all(&rows, |(name, offer, says)| {
        let stage = Stage::new()?;
        // What is unsent makes it incomplete; with none at all it is the failed file.
        let case = Case::new(format!("terminal: unsent, {name}"), 3, "x\\u{202e}y: it vanished");
        let ended = stage.receive(&case, |line| {
            line.say(offer)?;
            line.say(&page(ENTRIES, 1, &file("x\u{202e}y").bytes()))?;
            line.hear_pages(PLAN)?;
            line.say(&data(&[failed(0, 1)]))?;
            line.finish().map(drop)
        })?;
        ensure!(ended.stderr.contains(says), "{name}: expected {says:?}: {ended:#?}");
        Ok(())
    })
}

/// Names on the sender's own disk, which somebody else may have put there: they arrive, and
/// are told on both sides.
#[test]
fn names_on_the_senders_disk() -> Result<()> {
    let (from, into) = (Scratch::new()?, Scratch::new()?);
    let root = from.join("tr\u{202e}ee");
    for name in ["\u{1b}]0;owned\u{7}", "a\rb", "a\nerror: b", "x\u{9b}31m", "x\u{7f}"] {
        write(&root.join(name), "hidden")?;
    }
    for odd in ODD {
        write(&root.join(format!("a{odd}b")), "content")?;
    }
    let sender = Sender::pod(&[&root], &["-vv"])?;
    let received = run(receiving(&sender.ticket, into.path(), &["-vv"]))?.expect(0)?;
    let sent = sender.end()?.expect(0)?;
    for ended in [&received, &sent] {
        ensure_clean(&ended.stdout)?;
        ensure_clean(&ended.stderr)?;
        ensure!(ended.stderr.contains("\\u{1b}]0;owned\\u{7}"), "{ended:#?}");
        ensure!(ended.stderr.contains("tr\\u{202e}ee/\n"), "{ended:#?}");
    }
    Ok(())
}

/// At a terminal, with a bar, a question and its answer. What the program itself writes to move the
/// cursor is all that may be there: CSI sequences, of these letters only.
#[test]
fn at_a_terminal() -> Result<()> {
    let scratch = Scratch::new()?;
    let odd: Vec<String> = ODD.iter().chain(&CONTROL).map(|odd| format!("a{odd}b")).collect();
    let mut names = odd.clone();
    names.sort_unstable();
    write(&scratch.join("out").join(&names[0]), "mine")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut command = transfer();
    command.args(["receive", "-vv", "-o"]).arg(scratch.join("out"));
    command.arg(format!("{}:{TOKEN}", listener.local_addr()?));
    let mut receiver = AtTerminal::start(command)?;
    let mut line = Line::start(listener.accept()?.0, Side::Sender, TOKEN)?;
    let entries: Vec<Entry> = names.iter().map(|name| fit(file(name))).collect();
    let bytes = 27 * entries.len();
    line.say(&control(format!(
        r#"{{"type":"offer","files":{},"folders":0,"links":0,"bytes":{bytes},"unsent":1,"unsent_names":[{{"name":"\u001b]0;owned\u0007","why":"\u001bc\u202e"}}],"features":["raw-names"]}}"#,
        entries.len()
    )))?;
    crate::script::list(&entries).iter().try_for_each(|page| line.say(page))?;
    receiver.wait_for("which? [R/o/n/s/q]")?;
    receiver.press("\r")?;
    line.hear_pages(PLAN)?;
    for index in 0..u32::try_from(entries.len())? {
        line.say(&data(&[whole(index)]))?;
        // Slow enough for the bar to show some of the names.
        std::thread::sleep(std::time::Duration::from_millis(110));
    }
    line.finish()?;
    line.drain();
    let shown = receiver.end(3)?;
    for name in &names {
        let escaped = format!("a{}b", escaped(name.trim_matches(['a', 'b'])));
        ensure!(shown.contains(&escaped), "{escaped} is not shown: {shown:?}");
    }
    ensure!(shown.contains("\\u{1b}]0;owned\\u{7}: \\u{1b}c\\u{202e}"), "{shown:?}");
    ensure_clean(&without_own_sequences(&shown)?)?;
    ensure!(fs::read_dir(scratch.join("out"))?.count() == names.len() + 1, "not all is there");
    Ok(())
}

/// A yes holds for the list that was shown: a sender that comes back with the same is not asked
/// about again, one that comes back with another is.
#[test]
fn a_yes_holds_for_what_was_shown() -> Result<()> {
    for (name, size) in [("harmless", 27), (".bashrc", 27), ("harmless", 28)] {
        let same = (name, size) == ("harmless", 27);
        let scratch = Scratch::new()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut command = transfer();
        command.args(["receive", "-o"]).arg(scratch.join("out"));
        command.arg(format!("{}:{TOKEN}", listener.local_addr()?));
        let mut receiver = AtTerminal::start(command)?;
        let offer = |name: &str, size: u64| -> Result<Line> {
            let mut line = Line::start(listener.accept()?.0, Side::Sender, TOKEN)?;
            line.offer(&[sized(name, size)])?;
            Ok(line)
        };
        let mut line = offer("harmless", 27)?;
        receiver.wait_for("take it? [Y/n]")?;
        receiver.press("y")?;
        line.hear_pages(PLAN)?;
        drop(line);
        let mut line = offer(name, size)?;
        if same {
            line.hear_pages(PLAN)?;
            line.say(&data(&[whole(0)]))?;
            line.finish()?;
            line.drain();
            let shown = receiver.end(0)?;
            assert_eq!(shown.matches("[Y/n]").count(), 1, "{shown:?}");
        } else {
            receiver.wait_for(&format!("{size} B: {name}\r\n"))?;
            wait_for(|| receiver.shown().matches("[Y/n]").count() > 1)?;
            receiver.press("n")?;
            line.drain();
            receiver.end(7)?;
            ensure!(!scratch.join("out").join(name).exists(), "{name} was taken");
        }
    }
    Ok(())
}

/// Takes out carriage returns and what moves the cursor and colours a line.
fn without_own_sequences(shown: &str) -> Result<String> {
    let mut rest = String::new();
    for (number, part) in shown.split("\u{1b}").enumerate() {
        let text = if number == 0 { part } else { part.strip_prefix('[').unwrap_or("\u{1b}") };
        let own = |c: char| c.is_ascii_digit() || [';', '?'].contains(&c);
        let text = if number == 0 { text } else { text.trim_start_matches(own) };
        let letter = text.chars().next().filter(|_| number > 0);
        let known = letter.is_none_or(|letter| "ABCDGHJKhlm".contains(letter));
        ensure!(known, "an unknown sequence: {part:?}");
        rest.push_str(text.trim_start_matches(|c| Some(c) == letter));
    }
    Ok(rest.replace('\r', ""))
}

/// What could steer a terminal does not get onto it, however it comes; what is plain text does.
#[test]
fn data_that_is_no_text_is_not_for_a_terminal() -> Result<()> {
    let from = Scratch::new()?;
    let rows: [(&str, &[u8], bool); 3] = [
        ("text", "Grüße,\n\t日本\n".as_bytes(), true),
        ("an escape sequence", b"hello\n\x1b]0;owned\x07\n", false),
        ("bytes", &[0, 159, 146, 150, 7, 7, 7, 7], false),
    ];
    for (name, content, shown) in rows {
        write(&from.join("file"), content)?;
        let sender = Sender::pod(&[&from.join("file")], &[])?;
        let mut command = transfer();
        command.args(["receive", "-y", "-o", "-", &sender.ticket]);
        let receiver = AtTerminal::start(command)?;
        if shown {
            let screen = receiver.end(0)?;
            ensure!(screen.contains("Grüße,\r\n") && screen.contains("日本"), "{name}: {screen:?}");
            sender.end()?.expect(0)?;
            continue;
        }
        let screen = plain(&receiver.end(2)?);
        let says = "error: cannot write what comes in: it is no plain text, and standard output is a \
             terminal\r\n  name a folder with -o, or add `| cat` to have it on the terminal all \
             the same\r\n";
        ensure!(screen.contains(says), "{name}: {screen:?}");
        ensure!(!screen.contains("owned") && !screen.contains('\u{7}'), "{name}: {screen:?}");
        sender.end()?.expect(7)?.says("the receiver said no")?;
    }
    Ok(())
}
