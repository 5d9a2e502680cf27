//! `cfs completions`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::context::Context;
use crate::report::CommandError;

/// Print a completion script for a shell.
///
/// It is to be put where the shell looks for them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs `cfs completions`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Args::command(), "cfs", &mut script);
    std::io::Write::write_all(&mut *context.output.raw(), &script).map_err(CommandError::stdout)
}
