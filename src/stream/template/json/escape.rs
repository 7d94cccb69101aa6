//! Writing text into JSON strings, and into the escapes of text that is in one already.
//!
//! Promises: what is written between two quotes is a valid JSON string whatever the input, as long as it is UTF-8; line
//! breaks never come out raw. Leaves to others: the quotes, but for [`push_string`].

/// Appends `text` in quotes.
pub(in crate::stream::template) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Most strings that are written here are short and need nothing.
    if text
        .bytes()
        .any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        push_escaped(out, text.as_bytes());
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

/// Appends `text` with what a JSON string may not hold escaped.
///
/// A line of JSON has a quote every ten bytes or so. Finding each costs more than it saves, so every byte is written
/// behind a backslash that the next byte overwrites unless it is needed: no branch depends on the data. Blocks with
/// control characters, which ingest allows between tokens only, take the slow way.
pub(in crate::stream::template) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut escaped = [0; 2 * BLOCK_BYTES + 1];
    for block in text.chunks(BLOCK_BYTES) {
        if block
            .iter()
            .fold(false, |found, byte| found | (*byte < 0x20))
        {
            push_escaped_slowly(out, block);
            continue;
        }
        let mut length = 0;
        for byte in block {
            escaped[length] = b'\\';
            length += usize::from(*byte == b'"' || *byte == b'\\');
            escaped[length] = *byte;
            length += 1;
        }
        out.extend_from_slice(&escaped[..length]);
    }
}

/// Bytes escaped at a time: small enough for the first-level cache, large enough that copying costs little.
const BLOCK_BYTES: usize = 128;

fn push_escaped_slowly(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => push_code(out, u16::from(*byte)),
            _ => out.push(*byte),
        }
    }
}

/// Makes what was appended behind `from` ASCII: each character beyond it becomes `\uXXXX`, by UTF-16 in pairs.
pub(in crate::stream::template) fn make_ascii(out: &mut Vec<u8>, from: usize) {
    if out[from..].is_ascii() {
        return;
    }
    let text = String::from_utf8_lossy(&out[from..]).into_owned();
    out.truncate(from);
    for character in text.chars() {
        if let Ok(byte) = u8::try_from(character)
            && byte.is_ascii()
        {
            out.push(byte);
        } else {
            for code in character.encode_utf16(&mut [0; 2]) {
                push_code(out, *code);
            }
        }
    }
}

fn push_code(out: &mut Vec<u8>, code: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(DIGITS[usize::from(code >> shift & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_parser_reads_back_what_was_escaped(text in any::<String>(), padding in 0..300_usize) {
            let text = format!("{}{text}\u{1f}\n{text}", "\"a\\".repeat(padding));
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert!(out.iter().all(|byte| *byte >= 0x20));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            make_ascii(&mut out, 0);
            prop_assert!(out.is_ascii());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
