//! Our own secrets, which a reply may echo and which no text for people may show.

use http::{HeaderValue, Uri};

/// Characters of a reply shown to people.
const REPLY_SHOWN_CHARS: usize = 200;

/// Values of configured headers and of the URLs' queries, and tokens. Never printed.
pub(in crate::sink::http) struct Secrets(Vec<String>);

impl Secrets {
    /// Shorter values would be found in innocent text.
    const BYTES_MIN: usize = 4;

    /// Takes whole values, and what stands behind a scheme word such as `Bearer`.
    pub(in crate::sink::http) fn new<'a>(
        headers: impl Iterator<Item = &'a HeaderValue>,
        urls: &[Uri],
    ) -> Self {
        let mut secrets = Self(Vec::new());
        for value in headers {
            secrets.add_header(value);
        }
        for query in urls.iter().filter_map(Uri::query) {
            let values = query.split('&').filter_map(|pair| pair.split_once('='));
            secrets.add(std::iter::once(query).chain(values.map(|(_key, value)| value)));
        }
        secrets
    }

    /// Takes a header's value, and what stands behind a scheme word.
    pub(in crate::sink::http) fn add_header(&mut self, value: &HeaderValue) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let token = text.split_once(' ').map(|(_scheme, token)| token.trim());
        self.add(token.into_iter().chain([text.as_ref()]));
    }

    /// Takes more of them.
    pub(in crate::sink::http) fn add<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        let long = secrets.into_iter().filter(|s| s.len() >= Self::BYTES_MIN);
        self.0.extend(long.map(str::to_owned));
        // A longer one may hold a shorter one.
        self.0
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
    }

    /// The bytes as one line of text, secrets replaced, cut to what is shown.
    pub(super) fn shown(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), "[secret]");
        }
        for secret in &self.0 {
            // The bytes may end within a secret.
            let tail = (Self::BYTES_MIN..secret.len())
                .rev()
                .filter_map(|len| secret.get(..len))
                .find(|start| text.ends_with(start));
            if let Some(start) = tail {
                text.truncate(text.len() - start.len());
            }
        }
        let words = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        line.chars().take(REPLY_SHOWN_CHARS).collect()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}
