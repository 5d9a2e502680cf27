//! The words of the command line.

use clap::{ArgAction, Parser};

use crate::commands::Command;
use crate::settings::SettingsArgs;

/// A virtual compose filesystem: every byte of a distribution stored once, releases promoted atomically.
///
/// Exit status: 0 done; 1 the answer is no (trees differ, promotion refused); 2 wrong usage; 3 failed;
/// 4 the store is damaged.
#[derive(Debug, Parser)]
#[command(name = "cfs", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Args {
    /// Where the store and the configuration are.
    #[command(flatten)]
    pub settings: SettingsArgs,

    /// Print results as JSON: one object, or one object a line where there are many.
    #[arg(long, global = true)]
    pub json: bool,

    /// Print results and errors only, no progress and no remarks.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more about what is done; twice for every object.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}
