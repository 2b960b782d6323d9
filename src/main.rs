//! `transfer`: parse, dispatch, one line when it went wrong, an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use transfer::cli::{self, Cli, Command};
use transfer::error::{Error, Exit, Result};
use transfer::{completions, doctor, manual, receive, send};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(cli::explain(&error) as u8),
    };
    let (ui, log) = cli.command.ui();
    if cli.command.is_transfer() {
        transfer::ui::watch_signals(&ui);
    }
    ui.begin();
    let run = || -> Result<Exit> {
        log?;
        match cli.command {
            Command::Send(args) => send::run(&args.resolve()?, &ui),
            Command::Receive(args) => receive::run(args.resolve()?, &ui),
            Command::Doctor(args) => doctor::run(&args.resolve(), &ui),
            Command::Completions(args) => completions::run(args.resolve(), Cli::command(), &ui),
            Command::Man => ui.print(&manual::page(Cli::command())).map(|()| Exit::Done),
        }
    };
    let saved = |exit| ui.save_sums().map(|()| exit);
    let exit = run().and_then(saved).unwrap_or_else(|error: Error| {
        ui.error(&error);
        error.exit
    });
    ExitCode::from(ui.end(exit) as u8)
}
