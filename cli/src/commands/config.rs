//! `cfs config`

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

mod import;
mod show;

/// Check the configuration file, show what it says, or convert another tool's.
///
/// A file with a mistake is refused by every command, with the line and the word that was probably meant.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether the file can be used.
    Check,
    /// Print what holds, what is not written in the file included.
    Show,
    Import(import::Args),
}

/// Runs `cfs config`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    match &args.verb {
        Verb::Check => check(context),
        Verb::Show => show::run(context),
        Verb::Import(args) => import::run(args, context),
    }
}

/// The configuration was read when the program started, so it is good.
fn check(context: &Context<'_>) -> Result<(), CommandError> {
    let (path, config) = &context.settings.configuration;
    let path = path.display();
    let groups: usize = config.sigs.values().map(std::collections::BTreeMap::len).sum();
    let mut text = format!(
        "{path}: good: {} views, {} promotions, {} hooks",
        config.views.len(),
        config.promotions.len(),
        config.hooks.len()
    );
    if !config.releases.is_empty() || groups > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, ", {} releases, {groups} groups", config.releases.len());
    }
    context.output.result(text, &json!({ "file": path.to_string(), "good": true }))
}
