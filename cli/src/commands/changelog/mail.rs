//! A changelog as a mail.

use cfs_indexer::changelog::Changelog;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{Message, SmtpTransport, Transport};

use super::Args;
use crate::report::{CommandError, Kind};

/// Sends the text to everybody who is to have it.
pub(super) fn send(args: &Args, log: &Changelog, text: String, is_page: bool) -> Result<(), CommandError> {
    let missing = |what: &str| CommandError::usage(format!("--mail needs {what}"));
    let from: Mailbox = args.from.clone().ok_or_else(|| missing("--from"))?;
    let server = args.smtp.as_deref().ok_or_else(|| missing("--smtp"))?;
    let subject = args.subject.clone().unwrap_or_else(|| format!("compose report: {} changes", log.new));
    let kind = if is_page { ContentType::TEXT_HTML } else { ContentType::TEXT_PLAIN };
    let mut message = Message::builder().from(from).subject(subject).header(kind);
    for to in &args.mail {
        message = message.to(to.clone());
    }
    let message = message.body(text).map_err(|error| failed(server, &error))?;
    let transport = SmtpTransport::from_url(server).map_err(|error| failed(server, &error))?.build();
    transport.send(&message).map(drop).map_err(|error| failed(server, &error))
}

fn failed(server: &str, error: &dyn std::error::Error) -> CommandError {
    // The rest may hold a password.
    let server = server.rsplit_once('@').map_or(server, |(_, host)| host);
    CommandError::new(Kind::Failed, format!("{server}: the mail cannot be sent: {error}"))
}
