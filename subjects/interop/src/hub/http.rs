//! Requests to the hub and to where it redirects. The token goes to the endpoint's own origin and nowhere else.

use std::io::Read as _;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};
use url::{Host, Url};

use super::{HubError, Settings, Token};

/// Redirects that one request follows.
const MAX_REDIRECTS: usize = 5;
/// Bytes of headers.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// An HTTP client for one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<Token>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    /// Headers only, from the endpoint itself: a redirect to another origin is an answer.
    Metadata,
    /// Everything.
    All,
    /// Bytes from the first to the last of `range`, as long as the file still has `etag`.
    Range { first: u64, last: u64, etag: Option<&'a str> },
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let tuning = &settings.tuning;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, so that each hop is looked at.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("apr/", env!("CARGO_PKG_VERSION")))
            // A compressed answer would not be the bytes that were asked for.
            .accept_encoding("identity")
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_resolve(Some(tuning.connect_timeout))
            .timeout_connect(Some(tuning.connect_timeout))
            .timeout_recv_response(Some(tuning.idle_timeout))
            .timeout_per_read(Some(tuning.idle_timeout))
            .timeout_per_write(Some(tuning.idle_timeout));
        if is_loopback(&settings.endpoint) {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Self { agent, endpoint: settings.endpoint.clone(), token: settings.token.clone() }
    }

    /// The address of `path` at the endpoint; `segments` are escaped.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            path.extend(segments);
        }
        url
    }

    /// Sends a request and follows redirects. Fails without an answer only; the status is the caller's to judge.
    pub(super) fn send(&self, url: &Url, ask: Ask<'_>) -> Result<Answer, HubError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&url, ask)?;
            let status = response.status();
            let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.headers().get(header::LOCATION).filter(|_| is_redirect) else {
                return Ok(Answer { url, response });
            };
            let next = self.redirected(&url, location.to_str().ok())?;
            if matches!(ask, Ask::Metadata) && next.origin() != self.endpoint.origin() {
                return Ok(Answer { url, response });
            }
            url = next;
        }
        Err(HubError::Redirect { url: shown(&url), fault: format!("more than {MAX_REDIRECTS} times") })
    }

    fn send_once(&self, url: &Url, ask: Ask<'_>) -> Result<Response<Body>, HubError> {
        let mut request = match ask {
            Ask::Metadata => self.agent.head(url.as_str()),
            Ask::All | Ask::Range { .. } => self.agent.get(url.as_str()),
        };
        if let Ask::Range { first, last, etag } = ask {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
            if let Some(etag) = etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.may_see_token(url)) {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        let response = request.call().map_err(|error| network_error(url, &error))?;
        match response.headers().get(header::CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                let fault = "it is compressed, which was not asked for".to_owned();
                Err(HubError::Response { url: shown(url), fault })
            }
            _ => Ok(response),
        }
    }

    /// The endpoint may, unless others could listen on the way.
    fn may_see_token(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin() && (url.scheme() == "https" || is_loopback(url))
    }

    /// Where a redirect leads.
    fn redirected(&self, from: &Url, location: Option<&str>) -> Result<Url, HubError> {
        let refuse = |fault: String| HubError::Redirect { url: shown(from), fault };
        let location = location.ok_or_else(|| refuse("to somewhere that is not text".to_owned()))?;
        let next = from.join(location).map_err(|_| refuse("to something that is no address".to_owned()))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(refuse(format!("to the scheme `{}`, which is not followed", next.scheme())));
        }
        if from.scheme() == "https" && next.scheme() == "http" {
            return Err(refuse(format!("to {}, which is not encrypted", shown(&next))));
        }
        // Somebody else's machine could point at what only this one can reach.
        if is_loopback(&next) && !is_loopback(&self.endpoint) {
            return Err(refuse("to this machine".to_owned()));
        }
        if !next.username().is_empty() || next.password().is_some() {
            return Err(refuse("to an address with a password in it".to_owned()));
        }
        Ok(next)
    }
}

/// An answer whose body was not read yet.
pub(super) struct Answer {
    url: Url,
    response: Response<Body>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn is(&self, status: StatusCode) -> bool {
        self.response.status() == status
    }

    /// Whether a redirect was met that was not followed.
    pub(super) fn is_redirect(&self) -> bool {
        self.response.status().is_redirection()
    }

    /// A header, when it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The ETag, when it promises that the bytes are the same.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.header("etag").filter(|etag| etag.starts_with('"'))
    }

    /// The `Content-Length`.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The whole body, which must not exceed `limit` bytes.
    pub(super) fn bytes(self, limit: u64) -> Result<Vec<u8>, HubError> {
        let url = self.url;
        let mut bytes = Vec::new();
        let mut body = self.response.into_body().into_reader().take(limit + 1);
        body.read_to_end(&mut bytes).map_err(|error| broken_off(&url, &error))?;
        if bytes.len() as u64 > limit {
            let fault = format!("it has more than {limit} bytes");
            return Err(HubError::Response { url: shown(&url), fault });
        }
        Ok(bytes)
    }

    /// The body as it comes, in pieces.
    pub(super) fn read_pieces(
        self,
        mut piece: impl FnMut(&[u8]) -> Result<(), HubError>,
    ) -> Result<(), HubError> {
        let url = self.url;
        let mut body = self.response.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => piece(&buffer[..n])?,
                Err(error) => return Err(broken_off(&url, &error)),
            }
        }
    }

    /// An error for this answer.
    pub(super) fn unusable(&self, fault: impl Into<String>) -> HubError {
        HubError::Response { url: shown(&self.url), fault: fault.into() }
    }

    /// An error for this answer's status.
    pub(super) fn unexpected(&self) -> HubError {
        HubError::Status { url: shown(&self.url), status: self.status() }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An address for people: without the query, which may hold a signature.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn network_error(url: &Url, error: &ureq::Error) -> HubError {
    use ureq::Error::{BadUri, HostNotFound, InvalidProxyUrl, Rustls, Tls};
    let is_lasting = matches!(error, HostNotFound | Tls(_) | Rustls(_) | BadUri(_) | InvalidProxyUrl);
    HubError::Network { url: shown(url), fault: error.to_string(), may_pass: !is_lasting }
}

fn broken_off(url: &Url, error: &std::io::Error) -> HubError {
    HubError::Network { url: shown(url), fault: format!("the connection broke off: {error}"), may_pass: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client for an endpoint that is not asked.
    fn client(endpoint: &str) -> Client {
        let variables = [("HOME", "/h"), ("HF_ENDPOINT", endpoint), ("HF_TOKEN", "hf_secret")];
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Client::new(&Settings::from_variables(variable).unwrap())
    }

    #[test]
    fn token_is_for_the_endpoint_and_for_nobody_who_may_listen() {
        let sees = |endpoint: &str, url: &str| client(endpoint).may_see_token(&Url::parse(url).unwrap());
        assert!(sees("https://huggingface.co", "https://huggingface.co/api/models/a/b"));
        for url in [
            "https://cdn.huggingface.co/x",
            "https://huggingface.co.evil.example/x",
            "https://huggingface.co:444/x",
            "http://huggingface.co/x",
            "https://evil.example/huggingface.co",
        ] {
            assert!(!sees("https://huggingface.co", url), "{url}");
        }
        assert!(!sees("http://mirror.example", "http://mirror.example/x"), "not encrypted");
        assert!(sees("http://127.0.0.1:8080", "http://127.0.0.1:8080/x"));
        assert!(!sees("http://127.0.0.1:8080", "http://127.0.0.1:8081/x"));
    }

    #[test]
    fn redirects_lead_to_encrypted_addresses_of_others() {
        let redirected = |from: &str, location: &str| {
            let client = client("https://huggingface.co");
            client.redirected(&Url::parse(from).unwrap(), Some(location)).map(|url| url.to_string())
        };
        let from = "https://huggingface.co/a/b/resolve/main/x";
        assert_eq!(redirected(from, "/c/d").unwrap(), "https://huggingface.co/c/d");
        assert_eq!(redirected(from, "//cdn.example/x?s=1").unwrap(), "https://cdn.example/x?s=1");
        for (location, expected) in [
            ("http://huggingface.co/x", "which is not encrypted"),
            ("https://127.0.0.1/x", "to this machine"),
            ("https://localhost:9000/x", "to this machine"),
            ("https://[::1]/x", "to this machine"),
            ("javascript:alert(1)", "the scheme `javascript`"),
            ("https://a:b@cdn.example/x", "a password"),
        ] {
            let error = redirected(from, location).unwrap_err().to_string();
            assert!(error.contains(expected), "{location}: {error}");
        }
        assert!(client("https://huggingface.co").redirected(&Url::parse(from).unwrap(), None).is_err());
    }

    #[test]
    fn paths_are_escaped() {
        let url =
            client("https://mirror.example/hub/").url(&["a", "b", "resolve", "refs/pr/1", "x y#?.gguf"]);
        assert_eq!(url.as_str(), "https://mirror.example/hub/a/b/resolve/refs%2Fpr%2F1/x%20y%23%3F.gguf");
    }
}
