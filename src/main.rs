//! `transfer`: parse, dispatch, one line when it went wrong, an exit code.

use std::process::ExitCode;

use clap::CommandFactory;
use transfer::cli::{self, Cli, Command};
use transfer::config::{self, Config};
use transfer::error::{Error, Exit, Result};
use transfer::net::quic;
use transfer::ui::Ui;
use transfer::{
    completions, devices, doctor, find, manual, open_files, pair, receive, send, serve,
};

fn main() -> ExitCode {
    open_files::allow(open_files::USUAL);
    let mut cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(cli::explain(&error) as u8),
    };
    let (ui, log) = cli.command.ui();
    if cli.command.is_transfer() {
        transfer::ui::watch_signals(&ui);
    }
    ui.begin();
    let told = ui.clone();
    quic::hear(move |warning| told.fine_detail(warning));
    if let Some(remark) = cli.command.remark() {
        ui.note(&remark);
    }
    if ui.asks() {
        answer(&mut cli.command, &ui);
    }
    let run = || -> Result<Exit> {
        log?;
        match cli.command {
            Command::Send(args) => send::run(&args.resolve()?, &ui),
            Command::Receive(args) => receive::run(args.resolve()?, &ui),
            Command::Serve(args) => serve::run(&args.resolve(), &ui),
            #[cfg(feature = "relay")]
            Command::Relay(args) => transfer::relay::run(&args.resolve(), &ui),
            Command::Doctor(args) => doctor::run(&args.resolve()?, &ui),
            Command::Find(args) => find::run(&args.resolve(), &ui),
            Command::Pair(args) => pair::run(args.resolve()?, &ui),
            Command::Trust(args) => devices::run_trust(&args.resolve(), &ui),
            Command::Ca(args) => devices::run_authority(&args.resolve()?, &ui),
            Command::Device(args) => devices::run_device(&args.resolve(), &ui),
            Command::Completions(args) => completions::run(args.resolve(), Cli::command(), &ui),
            Command::Token(args) => ui.print(&args.make()?).map(|()| Exit::Done),
            Command::Man => ui.print(&manual::page(Cli::command())).map(|()| Exit::Done),
        }
    };
    let saved = |exit| ui.save_sums().map(|()| exit);
    let exit = run().and_then(saved).unwrap_or_else(|error: Error| {
        ui.error(&error);
        error.exit()
    });
    ExitCode::from(ui.end(exit) as u8)
}

/// Answers that were kept stand for those of a person. A file that cannot be understood stops nothing.
fn answer(command: &mut Command, ui: &Ui) {
    match Config::load() {
        Ok(kept) => {
            let flags = command.answer(&kept);
            if let (false, Some(path)) = (flags.is_empty(), config::path()) {
                ui.note(&format!("{}, as {} says", flags.join(" "), config::shown_path(&path)));
            }
        }
        Err(error) => ui.warn(&error.to_string()),
    }
}
