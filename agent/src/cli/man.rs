//! The manual pages, made from the same text as `--help`.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::output::say;
use super::{Cli, Exit, Failure};

/// Print a manual page
///
/// In the format that `man` reads: of palisade itself, or of one of its commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade man | man -l -
  palisade man apply > /usr/local/share/man/man1/palisade-apply.1")]
pub(super) struct Args {
    /// The command whose page is printed
    command: Option<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let page = page(args.command.as_deref())?;
    say(page.trim_end())?;
    Ok(Exit::Done)
}

fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut palisade = Cli::command();
    palisade.build();
    let command = match command {
        None => palisade,
        Some(name) => of(&palisade, name)?,
    };
    let mut page = Vec::new();
    let failed = |error: io::Error| Failure::Io { what: "the manual page".into(), error };
    Man::new(command).render(&mut page).map_err(failed)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The command under the name that its page has: `palisade-apply`.
fn of(palisade: &Command, name: &str) -> Result<Command, Failure> {
    let names = || palisade.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(", ");
    let unknown = || Failure::Usage(format!("there is no command {name}; there are: {}", names()));
    let command = palisade.find_subcommand(name).ok_or_else(unknown)?;
    Ok(command.clone().name(format!("palisade-{name}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        for command in Cli::command().get_subcommands() {
            let page = page(Some(command.get_name())).unwrap();
            assert!(page.contains(".TH"), "{page}");
            let options = command.get_arguments().filter_map(|arg| arg.get_long());
            for option in options.filter(|option| !["help", "version"].contains(option)) {
                assert!(page.contains(&option.replace('-', "\\-")), "--{option} in {page}");
            }
        }
        assert!(page(None).unwrap().contains("palisade"));
        assert!(page(Some("nosuch")).is_err());
    }
}
