//! The `cfs` command.

use std::process::ExitCode;

use clap::Parser;

mod args;
mod commands;
mod context;
mod downloads;
mod interrupt;
mod keeper;
mod output;
mod permission;
mod report;
mod settings;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let words = std::env::args_os().skip(1).collect();
    let output = output::Output::new(args.json, args.quiet, args.verbose);
    let result = settings::Settings::load(&args.settings).and_then(|settings| {
        if let Some(socket) = keeper::needed(&settings, &args.command) {
            return keeper::ask(&socket, &args.command, words);
        }
        let context = context::Context { output: &output, settings };
        commands::run(args.command, &context)?;
        output.finish().map(|()| ExitCode::SUCCESS)
    });
    match result {
        Ok(code) => code,
        Err(error) => error.report(&output),
    }
}
