//! `modules.yaml`, the descriptions of modules in a repository: what a compose says of them.
//!
//! A stream of YAML documents, of which those that say `document: modulemd` are modules; others (defaults,
//! obsoletes, translations) are about them.

use serde::Deserialize;

use super::ProductmdError;

/// What a module says of itself, as far as `modules.json` needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its stream.
    pub stream: String,
    /// Its version.
    pub version: String,
    /// Its context; may be empty.
    pub context: String,
    /// Its packages: `name-epoch:version-release.arch`.
    pub rpms: Vec<String>,
}

impl Described {
    /// Name, stream, version and, where there is one, context, with colons between.
    pub fn uid(&self) -> String {
        let Self { name, stream, version, context, .. } = self;
        let parts = [name, stream, version, context];
        let parts: Vec<&str> =
            parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        parts.join(":")
    }
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    document: String,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    name: Option<String>,
    stream: Option<String>,
    version: Option<u64>,
    context: Option<String>,
    artifacts: Option<Artifacts>,
}

#[derive(Debug, Default, Deserialize)]
struct Artifacts {
    #[serde(default)]
    rpms: Vec<String>,
}

/// Reads a stream.
pub fn parse(text: &str) -> Result<Vec<Described>, ProductmdError> {
    let documents: Vec<Document> = serde_saphyr::from_multiple(text).map_err(|error| {
        let reason = error.without_snippet().to_string();
        ProductmdError::Malformed { kind: "modules.yaml", reason }
    })?;
    let modules = documents.into_iter().filter(|document| document.document == "modulemd");
    let described = modules.filter_map(|document| document.data).filter_map(|data| {
        Some(Described {
            name: data.name?,
            stream: data.stream?,
            version: data.version?.to_string(),
            context: data.context.unwrap_or_default(),
            rpms: data.artifacts.unwrap_or_default().rpms,
        })
    });
    Ok(described.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_and_the_rest_is_not() {
        let text = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: nodejs\n  stream: 1.10\n  version: 9040020240301\n  \
                    context: a1b2c3d4\n  license:\n    module: [MIT]\n  xmd: {}\n  artifacts:\n    rpms:\n    - \
                    nodejs-1:18.19.0-1.x86_64\n...\n---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: nodejs\n  \
                    stream: \"18\"\n...\n";
        let modules = parse(text).unwrap();
        assert_eq!(modules.len(), 1);
        assert_eq!(modules[0].uid(), "nodejs:1.10:9040020240301:a1b2c3d4");
        assert_eq!(modules[0].rpms, ["nodejs-1:18.19.0-1.x86_64"]);
        assert_eq!(parse("").unwrap(), []);
        assert!(parse("---\ndocument: [\n").is_err());
    }
}
