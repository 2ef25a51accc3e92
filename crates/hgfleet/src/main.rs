//! hgfleet: a fleet of Mercurial servers that looks like one.
//!
//! The binary holds the command line, the configuration and the supervision of the roles. What a role does lies in
//! the crate named after it.

mod cli;
mod command;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match command::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hgfleet: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// A failure is one line, whatever the library below it had to say.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
