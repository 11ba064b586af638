//! Where the hub is and where its files go, from the variables that `huggingface_hub` documents.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::HubError;

/// How to reach the hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cache: `HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Url,
    /// `HF_TOKEN`.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How hard to try.
    pub tuning: Tuning,
}

/// An access token. It is sent to the endpoint and nowhere else, and does not show when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// How downloads are made; the defaults suit the hub.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes that one request asks for.
    pub chunk_bytes: u64,
    /// Requests at a time.
    pub n_connections: usize,
    /// Times that a request is tried again.
    pub n_retries: u32,
    /// Pause before the first of these; every further one is twice as long.
    pub first_pause: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time without a byte.
    pub idle_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            chunk_bytes: 8 << 20,
            n_connections: 4,
            n_retries: 5,
            first_pause: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Settings from environment variables, which `variable` looks up.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let text = |name: &'static str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(HubError::Variable { name, fault: "is not Unicode" }),
        };
        let path = |name: &str| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let expanded = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        };
        let caches = path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        let hf_home = path("HF_HOME").or_else(|| caches.map(|caches| caches.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| hf_home.map(|home| home.join("hub")));
        let Some(cache) = cache.map(expanded) else {
            return Err(HubError::Variable {
                name: "HF_HUB_CACHE",
                fault: "is not set, and neither is HOME",
            });
        };
        let endpoint = text("HF_ENDPOINT")?;
        Ok(Self {
            cache,
            endpoint: endpoint_url(endpoint.as_deref().unwrap_or("https://huggingface.co"))?,
            token: text("HF_TOKEN")?.map(Token::new).transpose()?,
            offline: text("HF_HUB_OFFLINE")?.is_some_and(|value| is_true(&value)),
            tuning: Tuning::default(),
        })
    }
}

/// What `huggingface_hub` takes for true.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

fn endpoint_url(text: &str) -> Result<Url, HubError> {
    let refuse = |fault| HubError::Variable { name: "HF_ENDPOINT", fault };
    let mut url = Url::parse(text).map_err(|_| refuse("is not a URL such as https://huggingface.co"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("is not a URL such as https://huggingface.co"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(refuse("holds more than a scheme, a host and a path; a token goes into HF_TOKEN"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

impl Token {
    /// A token, which must be able to stand in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, HubError> {
        let text = text.into();
        if text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(HubError::Variable { name: "HF_TOKEN", fault: "holds characters that no token has" })
        }
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[track_caller]
    fn check_cache(variables: &[(&str, &str)], expected: &str) {
        assert_eq!(settings(variables).unwrap().cache, PathBuf::from(expected));
    }

    #[test]
    fn cache_is_where_huggingface_hub_looks_for_it() {
        check_cache(&[("HOME", "/h")], "/h/.cache/huggingface/hub");
        check_cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub");
        check_cache(&[("HOME", "/h"), ("HF_HOME", "/hf")], "/hf/hub");
        check_cache(&[("HOME", "/h"), ("HF_HOME", "~/hf")], "/h/hf/hub");
        check_cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")], "/c");
        check_cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/hf")], "/hf/hub");
        assert!(matches!(settings(&[]), Err(HubError::Variable { name: "HF_HUB_CACHE", .. })));
    }

    #[test]
    fn offline_is_what_huggingface_hub_takes_for_true() {
        for (value, expected) in [
            ("1", true),
            ("true", true),
            ("ON", true),
            ("Yes", true),
            ("0", false),
            ("", false),
            ("no", false),
        ] {
            let settings = settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(settings.offline, expected, "{value:?}");
            assert_eq!(super::super::Hub::new(settings).client.is_none(), expected, "{value:?}");
        }
    }

    #[test]
    fn endpoint_must_be_a_plain_url() {
        let endpoint =
            |value| settings(&[("HOME", "/h"), ("HF_ENDPOINT", value)]).map(|s| s.endpoint.to_string());
        assert_eq!(endpoint("").unwrap(), "https://huggingface.co/");
        assert_eq!(endpoint("https://mirror.example/hub//").unwrap(), "https://mirror.example/hub");
        for value in
            ["mirror.example", "ftp://mirror.example", "https://me:secret@mirror.example", "file:///etc"]
        {
            assert!(
                matches!(endpoint(value), Err(HubError::Variable { name: "HF_ENDPOINT", .. })),
                "{value}"
            );
        }
    }

    #[test]
    fn token_does_not_show_when_printed() {
        let settings = settings(&[("HOME", "/h"), ("HF_TOKEN", " hf_secret\n")]).unwrap();
        assert_eq!(settings.token, Some(Token::new("hf_secret").unwrap()));
        assert!(!format!("{settings:?}").contains("secret"));
        assert!(Token::new("a\r\nHost: evil").is_err());
    }
}
