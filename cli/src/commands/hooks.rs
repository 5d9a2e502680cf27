//! `cfs hooks`

use cfs_indexer::hooks::{Told, post_promote};
use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::{CommandError, Kind};

/// Tell hooks what they have not heard yet, or show what came of it.
///
/// A post-promote hook that failed hears of the same move again with the next promotion, or with `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell post-promote hooks of all moves that they have not heard of.
    Run,
    /// Show what hooks said, newest first.
    Log {
        /// At most this many.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
}

/// Runs `cfs hooks`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    match args.verb {
        Verb::Run => {
            let told = post_promote(&depot, &context.settings.configuration.1, &context.signer())?;
            let mut failed = None;
            for Told { hook, view, generation, result } in told {
                let value = json!({
                    "hook": hook, "view": view.as_str(), "generation": generation, "succeeded": result.is_ok(),
                    "output": match &result { Ok(output) => output.clone(), Err(error) => error.to_string() },
                });
                let word = if result.is_ok() { "told" } else { "failed" };
                context
                    .output
                    .result(format_args!("{hook}: {word} of {view}, generation {generation}"), &value)?;
                failed = failed.or(result.err());
            }
            failed.map_or(Ok(()), |error| Err(CommandError::new(Kind::Failed, error)))
        }
        Verb::Log { limit } => {
            for run in depot.catalogue.hook_runs(limit)? {
                let (at, word) = (time(run.at), if run.succeeded { "succeeded" } else { "failed" });
                let value = json!({
                    "hook": run.hook, "entry": run.entry, "at": at, "succeeded": run.succeeded, "output": run.output,
                });
                let output = run.output.trim_end().replace('\n', "\n    ");
                let more = if output.is_empty() { String::new() } else { format!("\n    {output}") };
                context
                    .output
                    .result(format_args!("{at}  {}  move {}  {word}{more}", run.hook, run.entry), &value)?;
            }
            Ok(())
        }
    }
}
