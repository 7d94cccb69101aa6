//! The keys requests are signed with: where they stand, and how a file of them is read.
//!
//! The file is the AWS shared credentials file, of which the profile `default` is taken, or
//! two lines `access_key = …` and `secret_key = …`. It is read anew after a refusal, so that
//! rotated keys work without a restart.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_sdk_s3::config::Credentials;

use crate::sink::settings::{S3KeySource, Secret};

/// Bytes of a credentials file; one of AWS has a few hundred.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Keys as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    access_key: String,
    secret_key: Secret,
    /// Of temporary keys.
    session_token: Option<Secret>,
}

impl Keys {
    /// Reads the keys from where they are.
    ///
    /// # Errors
    /// In words for people: what is missing, and where. Nothing of a key is in them.
    pub(super) fn read(source: &S3KeySource) -> Result<Self, String> {
        match source {
            S3KeySource::Given {
                access_key,
                secret_key,
            } => Ok(Self {
                access_key: access_key.clone(),
                secret_key: secret_key.clone(),
                session_token: None,
            }),
            S3KeySource::Environment => Self::find(|name| std::env::var(name).ok())
                .map_err(|name| format!("the environment has no {name}")),
            S3KeySource::File(path) => Self::read_file(path)
                .map_err(|why| format!("credentials_file {}: {why}", path.display())),
        }
    }

    /// For the SDK.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(
            &self.access_key,
            self.secret_key.shown(),
            self.session_token
                .as_ref()
                .map(|token| token.shown().to_owned()),
            None,
            "weir",
        )
    }

    fn read_file(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut text = String::new();
        File::open(path)?
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text)?;
        Self::parse(&text).map_err(|name| {
            format!("has no {name}; write it before any [profile] or in [default]").into()
        })
    }

    /// Reads the lines before the first header, and those below `[default]`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut is_ours = true;
        let mut pairs = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(profile) = line.strip_prefix('[') {
                is_ours = profile.trim_end_matches(']').trim() == "default";
            } else if let Some((name, value)) = line.split_once('=')
                && is_ours
            {
                pairs.push((name.trim(), value.trim().trim_matches('"')));
            }
        }
        Self::find(|asked| {
            let asked = asked.to_ascii_lowercase();
            let short = match asked.as_str() {
                "aws_access_key_id" => "access_key",
                "aws_secret_access_key" => "secret_key",
                _ => "session_token",
            };
            let found = pairs
                .iter()
                .find(|(name, value)| (*name == asked || *name == short) && !value.is_empty());
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Takes the keys by the names AWS gives them; the name of the first that is missing.
    fn find(named: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let named = |name| named(name).filter(|value| !value.is_empty()).ok_or(name);
        Ok(Self {
            access_key: named("AWS_ACCESS_KEY_ID")?,
            secret_key: Secret::new(named("AWS_SECRET_ACCESS_KEY")?),
            session_token: named("AWS_SESSION_TOKEN").ok().map(Secret::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(access: &str, secret: &str, token: Option<&str>) -> Keys {
        Keys {
            access_key: access.to_owned(),
            secret_key: Secret::new(secret.to_owned()),
            session_token: token.map(|token| Secret::new(token.to_owned())),
        }
    }

    #[test]
    fn a_file_of_aws_and_one_of_two_keys_are_read() {
        #[track_caller]
        fn check(text: &str, expected: Result<Keys, &'static str>) {
            assert_eq!(Keys::parse(text), expected, "{text}");
        }
        check(
            "# ours\n[other]\naws_access_key_id=B\naws_secret_access_key=bb\n[default]\n\
             aws_access_key_id = A\r\naws_secret_access_key = a/+=\naws_session_token = t==\n",
            Ok(keys("A", "a/+=", Some("t=="))),
        );
        check(
            "access_key = \"A\"\nsecret_key = \"s\"\n",
            Ok(keys("A", "s", None)),
        );
        check("access_key = A\n", Err("AWS_SECRET_ACCESS_KEY"));
        check(
            "access_key = A\nsecret_key =\n",
            Err("AWS_SECRET_ACCESS_KEY"),
        );
        check(
            "[other]\naws_access_key_id=B\naws_secret_access_key=bb\n",
            Err("AWS_ACCESS_KEY_ID"),
        );
        check("", Err("AWS_ACCESS_KEY_ID"));
    }

    #[test]
    fn keys_are_never_shown() {
        let shown = format!("{:?}", keys("A", "sesame", Some("sesame")));
        assert!(!shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let source = S3KeySource::File("/nowhere/keys".into());
        let why = Keys::read(&source).unwrap_err();
        assert!(why.starts_with("credentials_file /nowhere/keys: "), "{why}");
    }
}
