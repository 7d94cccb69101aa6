//! Tests of texts in the slow evaluator: terms, phrases, networks, and the encodings of its string functions.
//!
//! Owns: where a term stands in a text, character by character, as `weir::filter::tree::Place` has it. Letters are
//! folded by `tree::fold`, which is the definition; nothing else is shared with the engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir::filter::tree::{Place, Subnet, Term, fold};

/// True when the term stands in the text where it has to.
pub(crate) fn term_stands(text: &str, term: &Term) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = term.text.chars().collect();
    let starts = 0..=characters.len().saturating_sub(wanted.len());
    starts
        .filter(|&start| stands_at(&characters, start, &wanted, term.ignore_case))
        .any(|start| {
            let end = start + wanted.len();
            match term.place {
                Place::Whole => start == 0 && end == characters.len(),
                Place::Prefix => start == 0,
                Place::TokenPrefix => begins_token(&characters, start, &wanted),
                Place::Token => {
                    begins_token(&characters, start, &wanted)
                        && ends_token(&characters, end, &wanted)
                }
                Place::Substring => true,
            }
        })
}

/// True when the text holds the phrase, letters folded.
pub(crate) fn holds_phrase(text: &str, phrase: &str) -> bool {
    let folded = |text: &str| text.chars().map(fold).collect::<String>();
    folded(text).contains(&folded(phrase))
}

fn stands_at(text: &[char], start: usize, wanted: &[char], ignore_case: bool) -> bool {
    let Some(part) = text.get(start..start + wanted.len()) else {
        return false;
    };
    part.iter().zip(wanted).all(|(&one, &other)| {
        if ignore_case {
            fold(one) == fold(other)
        } else {
            one == other
        }
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn begins_token(text: &[char], start: usize, wanted: &[char]) -> bool {
    !wanted.first().is_some_and(|&first| is_word(first))
        || !start
            .checked_sub(1)
            .is_some_and(|before| is_word(text[before]))
}

fn ends_token(text: &[char], end: usize, wanted: &[char]) -> bool {
    !wanted.last().is_some_and(|&last| is_word(last))
        || !text.get(end).is_some_and(|&behind| is_word(behind))
}

/// An address as text; an IPv4-mapped one is IPv4.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    Some(match text.trim().parse().ok()? {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four @ IpAddr::V4(_) => four,
    })
}

/// The bits of an address, the first first.
fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let of_byte = |byte: u8| (0..8).rev().map(move |bit| byte >> bit & 1 == 1);
    bytes.into_iter().flat_map(of_byte).collect()
}

/// True when the string, trimmed, is an address in the network.
pub(crate) fn in_subnet(text: &str, subnet: &Subnet) -> bool {
    let (mut network, mut prefix) = (subnet.address, usize::from(subnet.prefix_bits));
    // A network of IPv4-mapped addresses is one of IPv4 when its prefix reaches behind the mapping.
    if let (IpAddr::V6(six), true) = (network, prefix >= 96)
        && let Some(four) = six.to_ipv4_mapped()
    {
        (network, prefix) = (IpAddr::V4(four), prefix - 96);
    }
    let Some(address) = address(text) else {
        return false;
    };
    let (address, network) = (bits(address), bits(network));
    address.len() == network.len() && address[..prefix] == network[..prefix]
}

/// `ipPrefix`.
pub(crate) fn network(text: &str, prefix: usize) -> Option<String> {
    let address = address(text)?;
    let mut address_bits = bits(address);
    if prefix > address_bits.len() {
        return None;
    }
    address_bits[prefix..].fill(false);
    let number = address_bits
        .iter()
        .fold(0_u128, |sum, &bit| sum << 1 | u128::from(bit));
    let network = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    };
    Some(format!("{network}/{prefix}"))
}

/// `urlEncode`.
pub(crate) fn url_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// `urlDecode`.
pub(crate) fn url_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `encodeBase64`.
pub(crate) fn base64_encode(text: &str) -> String {
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let index = (number >> (18 - 6 * place) & 63) as usize;
            encoded.push(if place <= three.len() {
                char::from(BASE64[index])
            } else {
                '='
            });
        }
    }
    encoded
}

/// `decodeBase64`: what encodes to the same again, and nothing else.
pub(crate) fn base64_decode(text: &str) -> Option<String> {
    let sixes: Vec<u32> = text
        .trim_end_matches('=')
        .bytes()
        .map(|byte| BASE64.iter().position(|&known| known == byte))
        .map(|index| index.and_then(|index| u32::try_from(index).ok()))
        .collect::<Option<_>>()?;
    let mut bytes = Vec::new();
    for four in sixes.chunks(4) {
        let number = (0..4).fold(0, |sum, place| {
            sum << 6 | four.get(place).copied().unwrap_or(0)
        });
        bytes.extend(&number.to_be_bytes()[1..four.len()]);
    }
    let decoded = String::from_utf8(bytes).ok()?;
    (base64_encode(&decoded) == text).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_stands_where_its_place_says() {
        let check = |text: &str, term: &str, place: Place, ignore_case: bool, stands: bool| {
            let term = Term {
                text: term.into(),
                place,
                ignore_case,
            };
            assert_eq!(term_stands(text, &term), stands, "{text} {term:?}");
        };
        check("login", "login", Place::Whole, false, true);
        check("login", "logins", Place::Whole, false, false);
        check("logins", "login", Place::Whole, false, false);
        check("LOGIN", "login", Place::Whole, false, false);
        check("LOGIN", "login", Place::Whole, true, true);
        check("logins", "login", Place::Prefix, false, true);
        check("a login", "login", Place::Prefix, false, false);
        check("a login", "log", Place::TokenPrefix, false, true);
        check("a_login", "log", Place::TokenPrefix, false, false);
        check("alogin login", "log", Place::TokenPrefix, false, true);
        check("élogin", "log", Place::TokenPrefix, false, false);
        check("a.login", "log", Place::TokenPrefix, false, true);
        check("a.login", ".log", Place::TokenPrefix, false, true);
        check("a.login", "log", Place::Token, false, false);
        check("a.login,", "login", Place::Token, false, true);
        check("a.login", "login", Place::Token, false, true);
        check("login1", "login", Place::Token, false, false);
        check("x-y", "-", Place::Token, false, true);
        check("blogins", "login", Place::Substring, false, true);
        check("ÉCOLE", "école", Place::Whole, true, true);
        check("\u{212a}elvin", "kelvin", Place::Whole, true, false);
        check("", "a", Place::Substring, false, false);
    }

    #[test]
    fn a_phrase_is_found_folded_anywhere() {
        assert!(holds_phrase("The Quick BROWN", "quick brown"));
        assert!(holds_phrase("abc", "BC"));
        assert!(!holds_phrase("abc", "ac"));
        assert!(holds_phrase("ÀÉ", "àé"));
        assert!(!holds_phrase("\u{130}", "i\u{307}"));
    }

    #[test]
    fn addresses_are_in_their_networks() {
        let check = |text: &str, network: &str, prefix_bits: u8, inside: bool| {
            let subnet = Subnet {
                address: network.parse().unwrap(),
                prefix_bits,
            };
            assert_eq!(
                in_subnet(text, &subnet),
                inside,
                "{text} {network}/{prefix_bits}"
            );
        };
        check("10.1.2.3", "10.0.0.0", 8, true);
        check(" 10.1.2.3\n", "10.9.9.9", 8, true);
        check("11.1.2.3", "10.0.0.0", 8, false);
        check("::ffff:10.1.2.3", "10.0.0.0", 8, true);
        check("10.1.2.3", "::ffff:10.0.0.0", 104, true);
        check("2001:db8::1", "2001:db8::", 32, true);
        check("2001:db9::1", "2001:db8::", 32, false);
        check("10.1.2.3", "::", 0, false);
        check("1.2.3.4", "0.0.0.0", 0, true);
        check("1.2.3", "0.0.0.0", 0, false);
        check("10.0.0.1", "10.0.0.1", 32, true);
    }

    #[test]
    fn encodings_are_those_of_their_standards() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("é", "w6k="),
        ] {
            assert_eq!(base64_encode(plain), encoded);
            assert_eq!(base64_decode(encoded).as_deref(), Some(plain));
        }
        for wrong in [
            "Zg", "Zg=", "Z", "Zh==", "Zg==Zg==", "Zm9v=", "Zm9 v", "/w==", "====",
        ] {
            assert_eq!(base64_decode(wrong), None, "{wrong}");
        }
        assert_eq!(url_encode("a b/é~"), "a%20b%2F%C3%A9~");
        assert_eq!(url_decode("a%20b+%c3%A9").as_deref(), Some("a b+é"));
        for wrong in ["%", "%4", "%4x", "%ff", "%+1"] {
            assert_eq!(url_decode(wrong), None, "{wrong}");
        }
        assert_eq!(network("10.1.2.3", 8).as_deref(), Some("10.0.0.0/8"));
        assert_eq!(
            network("2001:db8::ff", 32).as_deref(),
            Some("2001:db8::/32")
        );
        assert_eq!(network("10.1.2.3", 0).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(network("10.1.2.3", 33), None);
    }
}
