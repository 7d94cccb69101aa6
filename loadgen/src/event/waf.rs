//! Edge firewall events of about 220 B: flat JSON with short keys.
//!
//! Owns vocabulary and field order; leaves the stamp to `event`. A few per cent carry unicode and
//! escapes, because those are what a relay's validator gets wrong first.

use std::fmt::Write as _;

use super::random::Random;

/// Appends one event, without its closing brace and without a line end.
pub(super) fn write_event(out: &mut String, random: &mut Random) {
    let blocked = random.chance(12);
    let path = PATHS[random.skewed(PATHS.len())];
    let status = if blocked {
        403
    } else {
        STATUSES[random.skewed(STATUSES.len())]
    };
    let bytes = 200 + random.below(60_000);
    let query = match random.below(33) {
        0 => "?q=a\u{e7}\u{e3}o",
        1 => "?q=\\\"1\\\" or 1=1",
        2 => "?p=..\\\\..\\\\etc",
        3 => "?u=\\u65e5\\u672c",
        _ => "",
    };
    let method = METHODS[random.skewed(METHODS.len())];
    let rule = if blocked { random.pick(&RULES) } else { "-" };
    write!(
        out,
        "{{\"method\":\"{method}\",\"uri\":\"{path}{query}\",\"ip\":\"{}\",\"status\":{status},\
         \"waf\":\"{rule}\",\"bytes\":{bytes},\"id\":\"{:016x}\"",
        random.address(),
        random.bits(),
    )
    .expect("writing to a String cannot fail");
}

const PATHS: [&str; 16] = [
    "/api/v1/orders",
    "/",
    "/login",
    "/static/app.js",
    "/api/v1/cart",
    "/search",
    "/img/logo.png",
    "/api/v2/users/me",
    "/checkout",
    "/health",
    "/wp-login.php",
    "/api/v1/price",
    "/.env",
    "/graphql",
    "/api/v1/session",
    "/admin",
];
const STATUSES: [u16; 8] = [200, 304, 404, 301, 201, 204, 500, 429];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "HEAD", "DELETE"];
const RULES: [&str; 6] = ["sqli", "xss", "rfi", "traversal", "scanner", "bot"];
