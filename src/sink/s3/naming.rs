//! The keys of objects: a pure function of the batch's identity and its first event's time.

use std::fmt::Write as _;

use jiff::Timestamp as CivilTime;

use crate::batch::{Parcel, Purpose};
use crate::sink::settings::{KeyLayout, S3Settings};

/// What every probe is written to, behind the prefix.
const PROBE: &str = "weir-probe";

/// The key of a parcel's object; the same at every re-send of a batch.
pub(super) fn object_key(settings: &S3Settings, parcel: &Parcel) -> String {
    let mut key = settings.prefix.clone();
    if !key.is_empty() && !key.ends_with('/') {
        key.push(match settings.key_layout {
            KeyLayout::Flat => '_',
            KeyLayout::Dated => '/',
        });
    }
    if parcel.purpose == Purpose::Probe {
        key.push_str(PROBE);
        return key;
    }
    let (uuid, received) = (parcel.id.uuid(), parcel.received_first.0);
    let written = match settings.key_layout {
        KeyLayout::Flat => write!(key, "{}_{uuid}", received.div_euclid(1000)),
        KeyLayout::Dated => {
            let time = CivilTime::from_microsecond(received).unwrap_or_default();
            write!(key, "{}/{uuid}", time.strftime("%Y/%m/%d/%H/%M"))
        }
    };
    written.expect("writing to a String does not fail");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Timestamp;
    use crate::sink::s3::tests::{parcel, settings};

    /// The example of Azion's page of 2021.
    const MILLIS: i64 = 1_622_575_860_091;

    #[track_caller]
    fn check(prefix: &str, key_layout: KeyLayout, purpose: Purpose, expected: &str) {
        let settings = S3Settings {
            prefix: prefix.to_owned(),
            key_layout,
            ..settings("http://127.0.0.1:1")
        };
        let mut parcel = parcel(&[b"{}\n"]);
        parcel.received_first = Timestamp(MILLIS * 1000 + 999);
        parcel.purpose = purpose;
        let expected = expected.replace("UUID", &parcel.id.uuid().to_string());
        assert_eq!(object_key(&settings, &parcel), expected);
        // A later try is the same object.
        parcel.attempt = 7;
        assert_eq!(object_key(&settings, &parcel), expected);
    }

    #[test]
    fn keys_have_the_documented_layouts() {
        use KeyLayout::{Dated, Flat};
        use Purpose::{Events, Probe};
        check("waf_logs", Flat, Events, "waf_logs_1622575860091_UUID");
        check("a/", Flat, Events, "a/1622575860091_UUID");
        check("", Flat, Events, "1622575860091_UUID");
        check("waf/eu", Dated, Events, "waf/eu/2021/06/01/19/31/UUID");
        check("waf/", Dated, Events, "waf/2021/06/01/19/31/UUID");
        check("", Dated, Events, "2021/06/01/19/31/UUID");
        check("waf_logs", Flat, Probe, "waf_logs_weir-probe");
        check("waf", Dated, Probe, "waf/weir-probe");
        check("", Flat, Probe, "weir-probe");
    }
}
