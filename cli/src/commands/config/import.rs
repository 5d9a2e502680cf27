//! `cfs config import`

use std::fs;
use std::path::PathBuf;

use cfs_indexer::config::empanadas::{self, Imported, Options};
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// Where empanadas finds the projects of all releases, unless it is told otherwise.
const BASE_URL: &str = "https://yumrepofs.build.resf.org/v1/projects";

/// Convert a configuration of empanadas (YAML).
///
/// The file of a release or of a special interest group becomes a configuration of cfs, on standard output. What cannot
/// be converted is said on standard error, with its line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the projects of all releases stand below.
    #[arg(long, value_name = "URL", default_value = BASE_URL)]
    base_url: String,

    /// The short name of releases [default: the first word of their names].
    #[arg(long, value_name = "NAME")]
    short: Option<String>,
}

/// Runs `cfs config import`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let file = args.file.display();
    let text = fs::read_to_string(&args.file).map_err(|error| CommandError::io("read", &args.file, error))?;
    let options = Options { base_url: args.base_url.clone(), short: args.short.clone() };
    let Imported { text, remarks } = empanadas::import(&text, &options)
        .map_err(|error| CommandError::usage(format!("{file}:{}: {}", error.line, error.reason)))?;
    if context.output.is_json() {
        let remarks: Vec<_> = remarks
            .iter()
            .map(|remark| json!({ "line": remark.line, "key": remark.key, "what": remark.what }))
            .collect();
        return context.output.json(&json!({ "toml": text, "remarks": remarks }));
    }
    remarks.iter().for_each(|remark| context.output.note(format_args!("{file}:{remark}")));
    context.output.line(text.trim_end())
}
