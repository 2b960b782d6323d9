//! `transfer`: parse, dispatch, one line when it went wrong, an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use transfer::cli::{Cli, Command};
use transfer::error::{Error, Exit, Result};
use transfer::ui::{self, Ui};
use transfer::{completions, doctor, manual, receive, send};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = match &cli.command {
        Command::Send(args) => args.common.ui(args.reads_input()),
        Command::Receive(args) => args.common.ui(false),
        _ => Ui::new(false, 0, true),
    };
    let run = || -> Result<Exit> {
        match cli.command {
            Command::Send(args) => {
                ui::watch_signals();
                send::run(&args.resolve()?, &ui)
            }
            Command::Receive(args) => {
                ui::watch_signals();
                receive::run(args.resolve()?, &ui)
            }
            Command::Doctor(args) => doctor::run(&args.resolve(), &ui),
            Command::Completions(args) => completions::run(args.resolve(), Cli::command(), &ui),
            Command::Man => ui.print(&manual::page(Cli::command())).map(|()| Exit::Done),
        }
    };
    let exit = run().unwrap_or_else(|error: Error| {
        ui.error(&error);
        error.exit
    });
    ExitCode::from(exit as u8)
}
