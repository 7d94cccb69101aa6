//! One object on its way up: in one request, or in parts one after another.
//!
//! An upload in parts that fails is aborted, as far as the service answers. What a crash left
//! is aborted before the batch is sent again: uploads of exactly its key, which nobody else
//! can have begun because the key ends in the batch's identity. Uploads of other keys are
//! never touched.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use tokio::time::timeout;

use super::body::{Part, Parts};
use super::verdict;
use crate::batch::{BodyBroken, BodyReader};
use crate::sink::settings::{S3Checksum, S3Settings};
use crate::sink::{Failure, Outcome};

/// How long a delivery waits for an upload to be aborted.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// An object to be put.
pub(super) struct Upload<'a> {
    /// Signs and sends.
    pub(super) client: &'a Client,
    /// Bucket and manner.
    pub(super) settings: &'a S3Settings,
    /// The object's key.
    pub(super) key: String,
    /// An earlier try may have left an upload of this key.
    pub(super) may_have_left: bool,
}

impl Upload<'_> {
    /// Puts the object.
    ///
    /// # Errors
    /// With what the stream is to be answered; nothing but an unfinished upload is left then.
    pub(super) async fn put(&self, body: BodyReader<'_>) -> Result<(), Outcome> {
        let mut parts = Parts::new(body, self.settings.part_bytes);
        let (first, is_last) = parts.next().map_err(broken)?;
        if is_last {
            self.put_object(&first).await
        } else {
            self.put_parts(first, parts).await
        }
    }

    async fn put_object(&self, part: &Part) -> Result<(), Outcome> {
        let request = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(&self.key)
            .content_type(self.settings.content_type)
            .content_length(part.content_length())
            .body(part.stream(self.settings.sign_body));
        let request = match self.settings.checksum {
            S3Checksum::Crc32c => request.checksum_crc32_c(part.crc32c()),
            S3Checksum::Md5 => request.content_md5(part.md5()),
            S3Checksum::None => request,
        };
        let put = request
            .send()
            .await
            .map_err(|error| verdict::judge(&error))?;
        stored(put.e_tag()).map(|_| ())
    }

    async fn put_parts(&self, first: Part, rest: Parts<'_>) -> Result<(), Outcome> {
        if self.may_have_left {
            self.abort_left().await?;
        }
        let upload = self.create().await?;
        let result = self.put_parts_of(&upload, first, rest).await;
        if result.is_err() {
            self.abort(&upload).await;
        }
        result
    }

    async fn create(&self) -> Result<String, Outcome> {
        let with_checksum = self.settings.checksum == S3Checksum::Crc32c;
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(&self.key)
            .content_type(self.settings.content_type)
            .set_checksum_algorithm(with_checksum.then_some(ChecksumAlgorithm::Crc32C))
            .send()
            .await
            .map_err(|error| verdict::judge(&error))?;
        created
            .upload_id
            .ok_or_else(|| not_s3("an upload was begun without an id"))
    }

    async fn put_parts_of(
        &self,
        upload: &str,
        first: Part,
        mut rest: Parts<'_>,
    ) -> Result<(), Outcome> {
        let mut completed = Vec::new();
        let (mut part, mut is_last) = (first, false);
        for number in 1.. {
            completed.push(self.put_part(upload, number, &part).await?);
            if is_last {
                break;
            }
            (part, is_last) = rest.next().map_err(broken)?;
        }
        let completed = CompletedMultipartUpload::builder()
            .set_parts(Some(completed))
            .build();
        let done = self
            .client
            .complete_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(&self.key)
            .upload_id(upload)
            .multipart_upload(completed)
            .send()
            .await
            .map_err(|error| verdict::judge(&error))?;
        stored(done.e_tag()).map(|_| ())
    }

    async fn put_part(
        &self,
        upload: &str,
        number: i32,
        part: &Part,
    ) -> Result<CompletedPart, Outcome> {
        let request = self
            .client
            .upload_part()
            .bucket(&self.settings.bucket)
            .key(&self.key)
            .upload_id(upload)
            .part_number(number)
            .content_length(part.content_length())
            .body(part.stream(self.settings.sign_body));
        let completed = CompletedPart::builder().part_number(number);
        let (request, completed) = match self.settings.checksum {
            S3Checksum::Crc32c => {
                let crc32c = part.crc32c();
                (
                    request.checksum_crc32_c(&crc32c),
                    completed.checksum_crc32_c(crc32c),
                )
            }
            S3Checksum::Md5 => (request.content_md5(part.md5()), completed),
            S3Checksum::None => (request, completed),
        };
        let put = request
            .send()
            .await
            .map_err(|error| verdict::judge(&error))?;
        Ok(completed.e_tag(stored(put.e_tag())?).build())
    }

    /// Aborts what an earlier try of this very batch may have left. A service that does not let
    /// us look for it does not keep the batch from being sent; one that does not answer does.
    async fn abort_left(&self) -> Result<(), Outcome> {
        let listed = self
            .client
            .list_multipart_uploads()
            .bucket(&self.settings.bucket)
            .prefix(&self.key)
            .send()
            .await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error @ (SdkError::ServiceError(_) | SdkError::ResponseError(_))) => {
                let why = verdict::chain(&error);
                tracing::warn!(
                    bucket = self.settings.bucket,
                    why,
                    "list unfinished uploads; one that is left takes room until it is aborted"
                );
                return Ok(());
            }
            Err(error) => return Err(verdict::judge(&error)),
        };
        for upload in listed.uploads() {
            if let (Some(key), Some(id)) = (upload.key(), upload.upload_id())
                && key == self.key
            {
                self.abort(id).await;
            }
        }
        Ok(())
    }

    /// Aborts an upload; one that cannot be aborted now is found when the batch is sent again.
    async fn abort(&self, upload: &str) {
        let aborting = self
            .client
            .abort_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(&self.key)
            .upload_id(upload)
            .send();
        if let Ok(Err(error)) = timeout(ABORT_WITHIN, aborting).await {
            let why = verdict::chain(&error);
            tracing::debug!(key = self.key, why, "abort an unfinished upload");
        }
    }
}

/// The entity tag of what was stored. Every S3 service gives one; a reply without it is of
/// something else, such as a proxy that answers 200 to anything.
fn stored(e_tag: Option<&str>) -> Result<&str, Outcome> {
    e_tag.ok_or_else(|| not_s3("the reply names no entity tag, so it is not of an S3 service"))
}

/// What the object is made of could not be read: the lane knows, and sees to it.
fn broken(BodyBroken(detail): BodyBroken) -> Outcome {
    Outcome::Retry {
        why: Failure {
            reason: "journal_error",
            detail,
        },
        after: None,
    }
}

fn not_s3(detail: &str) -> Outcome {
    Outcome::Retry {
        why: Failure {
            reason: "protocol_error",
            detail: detail.to_owned(),
        },
        after: None,
    }
}
