//! Keys of destinations in a bucket: `[stream.NAME.s3]`.

use std::time::Duration;

use super::{Fallback, GIB, Key, Kind, MIB, SectionSpec, span};

/// `[stream.NAME.s3]`.
pub static S3: SectionSpec = SectionSpec {
    path: "stream.NAME.s3",
    doc: "Delivery to a bucket of an S3 service, one batch an object. See \
          [destinations/s3.md](destinations/s3.md).",
    keys: &[
        Key::new(
            "host",
            Kind::Origin,
            Fallback::Required,
            "URL of the service, without the bucket: `\"https://s3.eu-west-1.amazonaws.com\"`.",
        ),
        Key::new(
            "bucket",
            Kind::Text { max: 255 },
            Fallback::Required,
            "The bucket, which must exist.",
        ),
        Key::new(
            "region",
            Kind::Text { max: 64 },
            Fallback::Value("\"us-east-1\""),
            "Region requests are signed for; services with a single one take the default.",
        ),
        Key::new(
            "path_style",
            Kind::Flag,
            Fallback::Computed("`false` for hosts of AWS, else `true`"),
            "`true`: the bucket is named in the path. `false`: in the host name.",
        ),
        Key::new(
            "access_key",
            Kind::Text { max: 256 },
            Fallback::Computed(
                "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the \
                 environment, unless there is a `credentials_file`",
            ),
            "Name of the key requests are signed with; needs `secret_key`.",
        ),
        Key::new(
            "secret_key",
            Kind::Secret { max: 256 },
            Fallback::Absent,
            "The key itself; never shown.",
        ),
        Key::new(
            "credentials_file",
            Kind::ExistingFile,
            Fallback::Absent,
            "File with the keys, in place of the two above: the AWS shared credentials file, of \
             which `[default]` is taken, or two lines `access_key = …` and `secret_key = …`. Read \
             again when the keys are refused.",
        ),
        Key::new(
            "prefix",
            Kind::Text { max: 512 },
            Fallback::Value("\"\""),
            "What object keys begin with.",
        ),
        Key::new(
            "key_layout",
            Kind::OneOf(&["flat", "dated"]),
            Fallback::Value("\"flat\""),
            "Object keys: `flat`, `PREFIX_MILLISECONDS_UUID`; `dated`, \
             `PREFIX/YYYY/MM/DD/hh/mm/UUID`. The time is that of the batch's first event, in UTC.",
        ),
        Key::new(
            "content_type",
            Kind::OneOf(&["plain/text", "text/plain", "application/gzip"]),
            Fallback::Value("\"plain/text\""),
            "Media type of the objects. `application/gzip`: each is one gzip member; otherwise \
             they are not compressed. `plain/text` is what Azion sends.",
        ),
        Key::new(
            "checksum",
            Kind::OneOf(&["crc32c", "md5", "none"]),
            Fallback::Value("\"crc32c\""),
            "Checksum the service is to compare: `crc32c`, or `md5` for services that do not know \
             it.",
        ),
        Key::new(
            "sign_body",
            Kind::Flag,
            Fallback::Computed("`true` with `http://`, `false` with `https://`"),
            "Whether the signature covers the body. It costs a SHA-256 over all that is sent.",
        ),
        Key::new(
            "part_bytes",
            Kind::Size {
                min: 5 * MIB,
                max: GIB,
            },
            Fallback::Value("\"16 MiB\""),
            "Larger objects go up in parts of so many bytes.",
        ),
        Key::new(
            "connect_timeout",
            TIMEOUT,
            Fallback::Value("\"10s\""),
            "Time to connect, TLS included.",
        ),
        Key::new(
            "request_timeout",
            TIMEOUT,
            Fallback::Value("\"60s\""),
            "Time for one request, which is an object or a part of one, and its answer.",
        ),
        Key::new(
            "ca_file",
            Kind::ExistingFile,
            Fallback::Computed("the system's authorities"),
            "PEM file of the certificate authorities to trust.",
        ),
    ],
    tables: &[],
};

const TIMEOUT: Kind = span(Duration::from_millis(10), Duration::from_hours(1));
