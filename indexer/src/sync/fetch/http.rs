//! One attempt at one file over HTTP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{CONTENT_RANGE, HeaderMap, LAST_MODIFIED, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::time::{Instant, timeout};
use url::Url;

use super::guard::{Guard, Private};
use super::{Document, FetchError, Options, Order};
use crate::sync::partial::Partial;

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Slower than this, over the idle timeout, is a stall.
const RATE_MIN_BYTES: u64 = 1000;

/// A client that follows few redirects, never from TLS to plain nor where `guard` lets nobody go, and asks for bytes
/// as they are.
pub(super) fn client(options: &Options, guard: &Guard) -> Result<Client, FetchError> {
    let builder = || {
        Client::builder()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .redirect(redirects(guard.clone()))
            .dns_resolver(guard.clone())
            .https_only(options.https_only)
            .referer(false)
    };
    // Whoever runs this process may have chosen a provider already; that one is used then.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |error: reqwest::Error| FetchError::Network(Box::new(error));
    builder().build().or_else(|_| {
        // A system without certificates of authorities: plain HTTP works, TLS fails when it is used.
        let roots = rustls::RootCertStore::empty();
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        builder().tls_backend_preconfigured(tls).build().map_err(failed)
    })
}

fn redirects(guard: Guard) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            return attempt.error(format!("more than {REDIRECTS_MAX} redirects"));
        }
        let secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if secure && attempt.url().scheme() != "https" {
            return attempt.error("a redirect from https to http");
        }
        if let Err(error) = guard.check(attempt.url()) {
            return attempt.error(error);
        }
        attempt.follow()
    })
}

/// Gets a small file.
pub(super) async fn document(
    client: &Client,
    options: &Options,
    url: Url,
    cap_bytes: u64,
) -> Result<Document, FetchError> {
    let response = send(options, client.get(url)).await?;
    if response.status() != StatusCode::OK {
        return Err(refused(&response));
    }
    if response.content_length().is_some_and(|size| size > cap_bytes) {
        return Err(FetchError::TooLarge { limit_bytes: cap_bytes });
    }
    let modified = modified(response.headers());
    let mut bytes = Vec::new();
    read(options, response, &mut |chunk| {
        if (bytes.len() + chunk.len()) as u64 > cap_bytes {
            return Err(FetchError::TooLarge { limit_bytes: cap_bytes });
        }
        bytes.extend_from_slice(chunk);
        Ok(())
    })
    .await?;
    Ok(Document { bytes, modified })
}

/// Gets what `partial` lacks of the file, or the whole of it from a server that cannot resume.
pub(super) async fn fill(
    client: &Client,
    options: &Options,
    url: Url,
    order: &Order,
    partial: &mut Partial,
    received: &AtomicU64,
) -> Result<(), FetchError> {
    let have_bytes = partial.size_bytes();
    let mut request = client.get(url);
    if have_bytes > 0 {
        request = request.header(RANGE, format!("bytes={have_bytes}-"));
    }
    let response = send(options, request).await?;
    match response.status() {
        StatusCode::OK if have_bytes > 0 => partial.restart()?,
        StatusCode::OK => {}
        StatusCode::PARTIAL_CONTENT if resumes_at(response.headers()) == Some(have_bytes) => {}
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have_bytes > 0 => {
            partial.restart()?;
            return Err(FetchError::Range);
        }
        _ => return Err(refused(&response)),
    }
    let check = |size_bytes: u64| match order.size_bytes {
        Some(declared_bytes) if size_bytes > declared_bytes => {
            Err(FetchError::Size { found_bytes: size_bytes, declared_bytes })
        }
        _ if size_bytes > order.cap_bytes => Err(FetchError::TooLarge { limit_bytes: order.cap_bytes }),
        _ => Ok(()),
    };
    if let Some(coming_bytes) = response.content_length() {
        let size_bytes = partial.size_bytes().saturating_add(coming_bytes);
        check(size_bytes)?;
        if let Some(declared_bytes) = order.size_bytes.filter(|declared| *declared != size_bytes) {
            return Err(FetchError::Size { found_bytes: size_bytes, declared_bytes });
        }
    }
    read(options, response, &mut |chunk| {
        check(partial.size_bytes() + chunk.len() as u64)?;
        received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(partial.append(chunk)?)
    })
    .await?;
    match order.size_bytes {
        Some(declared_bytes) if partial.size_bytes() < declared_bytes => {
            Err(FetchError::Short { got_bytes: partial.size_bytes(), declared_bytes })
        }
        _ => Ok(()),
    }
}

async fn send(options: &Options, request: reqwest::RequestBuilder) -> Result<Response, FetchError> {
    let waited = options.connect_timeout + options.idle_timeout;
    match timeout(waited, request.send()).await {
        Err(_) => Err(FetchError::Stalled { received_bytes: 0, waited }),
        Ok(response) => response.map_err(failed),
    }
}

/// Gives every piece of a body to `take`, as long as they come fast enough.
async fn read(
    options: &Options,
    mut response: Response,
    take: &mut (dyn FnMut(&[u8]) -> Result<(), FetchError> + Send),
) -> Result<(), FetchError> {
    let waited = options.idle_timeout;
    // Bytes a second times milliseconds.
    let enough_bytes =
        RATE_MIN_BYTES.saturating_mul(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)) / 1000;
    let (mut since, mut received_bytes) = (Instant::now(), 0);
    loop {
        let chunk = match timeout(waited, response.chunk()).await {
            Err(_) => return Err(FetchError::Stalled { received_bytes, waited }),
            Ok(chunk) => chunk.map_err(failed)?,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        take(&chunk)?;
        received_bytes += chunk.len() as u64;
        if since.elapsed() >= waited {
            if received_bytes < enough_bytes {
                return Err(FetchError::Stalled { received_bytes, waited });
            }
            (since, received_bytes) = (Instant::now(), 0);
        }
    }
}

/// The failure of a request, without its URL: that may hold a password.
fn failed(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    if let Some(private) = private(&error) {
        return FetchError::Redirect(Box::new(private.clone()));
    }
    if error.is_redirect() || error.is_builder() {
        FetchError::Redirect(Box::new(error))
    } else {
        FetchError::Network(Box::new(error))
    }
}

/// The host that the guard did not let a request go to.
fn private(error: &reqwest::Error) -> Option<&Private> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(private) = cause.downcast_ref() {
            return Some(private);
        }
        next = cause.source();
    }
    None
}

/// What an answer other than the file means.
fn refused(response: &Response) -> FetchError {
    let status = response.status();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => FetchError::NotFound(status.to_string()),
        StatusCode::FORBIDDEN => FetchError::Forbidden(status.to_string()),
        _ => {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let transient = status.is_server_error()
                || status == StatusCode::TOO_MANY_REQUESTS
                || status == StatusCode::REQUEST_TIMEOUT;
            FetchError::Status {
                status: status.to_string(),
                transient,
                retry_after: seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs),
            }
        }
    }
}

/// The first byte that a partial answer gives.
fn resumes_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn modified(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(LAST_MODIFIED)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(time.as_secs()).ok()
}
