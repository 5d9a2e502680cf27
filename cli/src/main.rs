//! The `cfs` command.

use std::process::ExitCode;

use clap::Parser;

mod args;
mod commands;
mod context;
mod interrupt;
mod output;
mod permission;
mod report;
mod settings;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let output = output::Output::new(args.json, args.quiet, args.verbose);
    let result = settings::Settings::load(&args.settings).and_then(|settings| {
        let context = context::Context { output: &output, settings };
        commands::run(args.command, &context)?;
        output.finish()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(&output),
    }
}
