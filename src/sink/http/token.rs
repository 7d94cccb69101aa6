//! The `Authorization` header made of a token, and the file a token may come from.
//!
//! A file is read when the first parcel is sent, and again when a destination refused what it held:
//! so a rotated token works without a restart. It is read at most every few seconds, whatever the
//! destination says.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use http::HeaderValue;

use super::answer::Secrets;
use super::connection::failure;
use crate::sink::Failure;
use crate::sink::settings::{TokenScheme, TokenSettings, TokenSource};

/// Shortest time between two looks at the file.
const READ_AGAIN: Duration = Duration::from_secs(3);

/// Longer tokens are none: servers do not take such headers.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// A token as it is presented.
pub(super) struct Token {
    settings: TokenSettings,
    held: Option<Held>,
    /// When the file was last looked at, since the sink was opened.
    read_at: Option<Duration>,
}

struct Held {
    text: String,
    header: HeaderValue,
}

/// A token that has not been presented before.
pub(super) struct Fresh<'a>(&'a Held);

impl Fresh<'_> {
    /// From now on no text may show it, nor what is made of it.
    pub(super) fn hide_in(&self, secrets: &mut Secrets) {
        secrets.add([self.0.text.as_str()]);
        secrets.add_header(&self.0.header);
    }
}

impl Token {
    /// A token that is read when it is first needed.
    pub(super) fn new(settings: TokenSettings) -> Self {
        Self {
            settings,
            held: None,
            read_at: None,
        }
    }

    /// The header's value, once there is one.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        self.held.as_ref().map(|held| &held.header)
    }

    /// Reads the token when there is none yet.
    pub(super) fn ensure(&mut self, now: Duration) -> Result<Option<Fresh<'_>>, Failure> {
        if self.held.is_some() {
            return Ok(None);
        }
        self.read(now)
    }

    /// Looks whether the file holds another token, after a destination refused this one.
    pub(super) fn refused(&mut self, now: Duration) -> Result<Option<Fresh<'_>>, Failure> {
        let is_file = matches!(self.settings.source, TokenSource::File(_));
        let recently = |at: Duration| now < at + READ_AGAIN;
        if !is_file || self.read_at.is_some_and(recently) {
            return Ok(None);
        }
        self.read(now)
    }

    fn read(&mut self, now: Duration) -> Result<Option<Fresh<'_>>, Failure> {
        self.read_at = Some(now);
        let text = match &self.settings.source {
            TokenSource::Text(text) => text.clone(),
            TokenSource::File(path) => read_file(path)?,
        };
        if self.held.as_ref().is_some_and(|held| held.text == text) {
            return Ok(None);
        }
        let mut header = HeaderValue::try_from(authorization(self.settings.scheme, &text))
            .map_err(|_| {
                let what = "the token holds a character that no header can";
                failure("token_unreadable", what.to_owned())
            })?;
        header.set_sensitive(true);
        Ok(Some(Fresh(self.held.insert(Held { text, header }))))
    }
}

/// What the `Authorization` header says.
#[must_use]
pub fn authorization(scheme: TokenScheme, token: &str) -> String {
    match scheme {
        TokenScheme::Bearer => format!("Bearer {token}"),
        TokenScheme::Splunk => format!("Splunk {token}"),
        TokenScheme::ApiKey => format!("ApiKey {token}"),
        TokenScheme::BasicUser => format!("Basic {}", base64(format!("{token}:").as_bytes())),
    }
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: &str| {
        let detail = format!("read the token from {}: {why}", path.display());
        failure("token_unreadable", detail)
    };
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
    match read {
        Err(error) => Err(unreadable(&error.to_string())),
        Ok(bytes) if bytes as u64 == TOKEN_BYTES_MAX => Err(unreadable("it is too long for one")),
        Ok(_) if text.trim().is_empty() => Err(unreadable("the file is empty")),
        Ok(_) => Ok(text.trim().to_owned()),
    }
}

/// Base64 with padding, RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            let six = (bits >> (18 - 6 * letter)) & 63;
            text.push(if letter <= three.len() {
                char::from(LETTERS[six as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn each_scheme_has_its_header() {
        for (scheme, expected) in [
            (TokenScheme::Bearer, "Bearer tok"),
            (TokenScheme::Splunk, "Splunk tok"),
            (TokenScheme::ApiKey, "ApiKey tok"),
            (TokenScheme::BasicUser, "Basic dG9rOg=="),
        ] {
            let source = TokenSource::Text("tok".to_owned());
            let mut token = Token::new(TokenSettings { source, scheme });
            assert!(token.ensure(Duration::ZERO).unwrap().is_some());
            assert_eq!(token.header().unwrap(), expected);
            assert!(token.header().unwrap().is_sensitive());
            // There is nothing to read again.
            assert!(token.refused(LATER).unwrap().is_none());
        }
    }

    #[test]
    fn a_file_is_read_again_after_a_refusal_but_not_all_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let mut token = Token::new(TokenSettings {
            source: TokenSource::File(path.clone()),
            scheme: TokenScheme::Bearer,
        });
        let mut tell = |now: Duration, refused: bool| {
            let fresh = if refused {
                token.refused(now)
            } else {
                token.ensure(now)
            };
            match fresh {
                Ok(fresh) => fresh.map(|fresh| fresh.0.text.clone()).unwrap_or_default(),
                Err(why) => why.reason.to_owned(),
            }
        };
        assert_eq!(tell(Duration::ZERO, false), "token_unreadable");
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(tell(Duration::ZERO, false), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(tell(LATER, false), "", "nobody refused it");
        assert_eq!(tell(READ_AGAIN / 2, true), "", "too soon");
        assert_eq!(tell(LATER, true), "two");
        assert_eq!(tell(2 * LATER, true), "", "it is the same");
        let mut now = 2 * LATER;
        for content in ["", "  \n", &"x".repeat(20_000), "a\u{1}b"] {
            now += LATER;
            std::fs::write(&path, content).unwrap();
            assert_eq!(tell(now, true), "token_unreadable", "{content:?}");
            assert_eq!(tell(now, true), "", "too soon");
        }
    }
}
