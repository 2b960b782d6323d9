//! Answers that were kept, in the place of those of a person.

use clap::ValueEnum;

use super::Command;
use super::receive::ConflictArg;
use super::send::CompressArg;
use crate::config::Config;

impl Command {
    /// Lets what was kept answer the questions that no flag answers. Only where somebody would be
    /// asked: a script does not change with them. Returns the flags that say the same.
    pub fn answer(&mut self, kept: &Config) -> Vec<String> {
        let mut flags = vec![];
        match self {
            Self::Send(args) => {
                if let Some(leave_out) = kept.exclude_dev
                    && !args.exclude_dev
                    && !args.include_dev
                {
                    (args.exclude_dev, args.include_dev) = (leave_out, !leave_out);
                    flags.push(if leave_out { "--exclude-dev" } else { "--include-dev" }.into());
                }
                if let Some(how) = &kept.compress
                    && args.compress.is_none()
                {
                    args.compress = CompressArg::from_str(how.name(), false).ok();
                    flags.push(format!("--compress={}", how.name()));
                }
            }
            Self::Receive(args) => {
                if let Some(how) = &kept.on_conflict
                    && args.on_conflict.is_none()
                {
                    args.on_conflict = ConflictArg::from_str(how.name(), false).ok();
                    flags.push(format!("--on-conflict {}", how.name()));
                }
            }
            _ => {}
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn flags_come_first() {
        let kept = Config::parse("exclude-dev = false\ncompress = 'lz4'\non-conflict = 'skip'");
        let kept = kept.unwrap();
        for (words, flags) in [
            (&["send", "x"][..], &["--include-dev", "--compress=lz4"][..]),
            (&["send", "--exclude-dev", "x"], &["--compress=lz4"]),
            (&["send", "--compress=none", "--include-dev", "x"], &[]),
            (&["receive"], &["--on-conflict skip"]),
            (&["receive", "--on-conflict", "ask"], &[]),
            (&["doctor"], &[]),
        ] {
            let words = std::iter::once(&"transfer").chain(words);
            let mut command = Cli::try_parse_from(words).unwrap().command;
            assert_eq!(command.answer(&kept), flags);
            // What is said is what is done.
            assert_eq!(command.answer(&kept), <[&str; 0]>::default());
        }
    }

    #[test]
    fn every_key_is_a_flag() {
        use clap::CommandFactory;
        let command = Cli::command();
        let flags: Vec<&str> = command
            .get_subcommands()
            .flat_map(|it| it.get_arguments().filter_map(|arg| arg.get_long()))
            .collect();
        for key in crate::config::KEYS {
            assert!(flags.contains(&key), "{key}");
        }
    }

    #[test]
    fn every_kept_value_is_one_of_the_flag() {
        use crate::config::{Compress, Conflicts};
        for how in Compress::ALL {
            CompressArg::from_str(how.name(), false).unwrap();
        }
        for how in Conflicts::ALL {
            ConflictArg::from_str(how.name(), false).unwrap();
        }
    }
}
