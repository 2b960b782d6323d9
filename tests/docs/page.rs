//! Reading a page: its blocks, and the commands in them with what they are shown to say.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A fenced block of commands.
#[derive(Debug)]
pub struct Block {
    pub line: usize,
    pub script: bool,
    pub text: Vec<String>,
}

/// The blocks of a page; fails if a command stands anywhere else.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page))
        .with_context(|| page.to_owned())?;
    let mut blocks = vec![];
    let mut fence: Option<(Option<Block>, usize)> = None;
    for (line, text) in text.lines().enumerate().map(|(number, text)| (number + 1, text)) {
        if let Some(kind) = text.trim_start().strip_prefix("```") {
            match fence.take() {
                Some((block, _)) => blocks.extend(block),
                None => {
                    let runs = matches!(kind, "console" | "sh");
                    let block = Block { line, script: kind == "sh", text: vec![] };
                    fence = Some((runs.then_some(block), line));
                }
            }
            continue;
        }
        let is_command = prompt(text.trim_start()).is_some()
            || ["transfer ", "cargo ", "scripts/"].iter().any(|s| text.trim_start().starts_with(s));
        match &mut fence {
            Some((Some(block), _)) => block.text.push(text.to_owned()),
            Some((None, _)) => ensure!(!is_command, "{page}:{line}: a command in another block"),
            None => {
                let indented = text.starts_with("    ");
                ensure!(!(indented && is_command), "{page}:{line}: a command outside a fence");
            }
        }
    }
    ensure!(fence.is_none(), "{page}: a block without an end");
    Ok(blocks)
}

/// Which machine a command is typed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Sender,
    Receiver,
}

/// The machine and the command of a line with a prompt.
fn prompt(line: &str) -> Option<(Side, &str)> {
    let (name, command) = line.split_once("$ ")?;
    match name {
        "" | "sender" | "laptop" => Some((Side::Sender, command)),
        "receiver" | "desktop" => Some((Side::Receiver, command)),
        _ => None,
    }
}

/// A command, what it is shown to say, and how it is shown to end.
#[derive(Debug)]
pub struct Step {
    pub side: Side,
    pub command: String,
    pub says: Vec<String>,
    pub code: i32,
}

pub fn steps(block: &Block) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = vec![];
    let mut asked = None;
    for line in &block.text {
        let continued = steps.last_mut().filter(|s| s.command.ends_with('\\') && s.says.is_empty());
        if let Some(step) = continued {
            step.command.truncate(step.command.len() - 1);
            step.command.push_str(line.trim_start());
        } else if let Some(side) = asked.take() {
            let step = steps.iter_mut().rev().find(|step| step.side == side);
            step.context("echo $? comes first")?.code = line.trim().parse()?;
        } else if let Some((side, command)) = prompt(line) {
            if command == "echo $?" {
                asked = Some(side);
                continue;
            }
            steps.push(Step { side, command: command.to_owned(), says: vec![], code: 0 });
        } else if !line.trim().is_empty() {
            steps.last_mut().context("a block begins without a prompt")?.says.push(line.clone());
        }
    }
    ensure!(asked.is_none(), "echo $? shows nothing");
    Ok(steps)
}
