//! hgfleet: a fleet of Mercurial servers that looks like one.
//!
//! The binary holds the command line, the configuration and the supervision of the roles. What a role does lies in
//! the crate named after it.

mod cli;
mod command;
mod config;
mod data_folder;
mod fleet_state;
mod listeners;
mod logging;
mod make_missing;
mod ready;
mod supervise;
mod welcome;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::of_this_process();
    if cli.command.is_a_server() {
        logging::start();
    }
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
