//! Facilities and severities by their names: RFC 5424, tables 1 and 2, and the words that senders write.
//! Pure.

/// The code of a facility, by its name or number; letters of any case.
#[must_use]
pub fn facility_of(word: &str) -> Option<u8> {
    code_of(word, &FACILITIES, 23)
}

/// The code of a severity, by its name or number; letters of any case.
#[must_use]
pub fn severity_of(word: &str) -> Option<u8> {
    code_of(word, &SEVERITIES, 7)
}

/// Names of the facilities by their codes, as `syslog.conf` and RFC 5424 have them.
pub const FACILITIES: [(&str, u8); 26] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("ntp", 12),
    ("audit", 13),
    ("log audit", 13),
    ("alert", 14),
    ("log alert", 14),
    ("clock", 15),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Words of severities: those of syslog, of Activity Tracker events (`normal`, `warning`, `critical`), and
/// what other senders write.
pub const SEVERITIES: [(&str, u8); 23] = [
    ("emergency", 0),
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("critical", 2),
    ("crit", 2),
    ("fatal", 2),
    ("error", 3),
    ("err", 3),
    ("failure", 3),
    ("high", 3),
    ("warning", 4),
    ("warn", 4),
    ("medium", 4),
    ("notice", 5),
    ("informational", 6),
    ("information", 6),
    ("info", 6),
    ("normal", 6),
    ("low", 6),
    ("debug", 7),
    ("verbose", 7),
    ("trace", 7),
];

fn code_of(word: &str, words: &[(&str, u8)], code_max: u8) -> Option<u8> {
    let word = word.trim();
    let named = words
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    let number = || word.parse().ok().filter(|code| *code <= code_max);
    named.map(|(_, code)| *code).or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_have_the_codes_of_the_standard() {
        let check = |of: fn(&str) -> Option<u8>, word: &str, expected: Option<u8>| {
            assert_eq!(of(word), expected, "{word:?}");
        };
        for (word, code) in [
            ("normal", Some(6)),
            ("warning", Some(4)),
            ("critical", Some(2)),
            ("CRITICAL", Some(2)),
            (" err ", Some(3)),
            ("0", Some(0)),
            ("7", Some(7)),
            ("8", None),
            ("-1", None),
            ("", None),
            ("loud", None),
        ] {
            check(severity_of, word, code);
        }
        for (word, code) in [
            ("kern", Some(0)),
            ("Local0", Some(16)),
            ("log audit", Some(13)),
            ("audit", Some(13)),
            ("local7", Some(23)),
            ("23", Some(23)),
            ("24", None),
            ("", None),
        ] {
            check(facility_of, word, code);
        }
    }
}
