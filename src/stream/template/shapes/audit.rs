//! Reading the fields of an Activity Tracker event, with the deviations real events have.
//!
//! A field is looked for nested, then as one flat key with dots, as some services write it (`"initiator.id": …`).

use core::net::IpAddr;
use std::borrow::Cow;

use crate::filter::tree::{Severity, severity_of};
use crate::stream::template::json::{Item, Items, decoded, member, string_span};

/// The members of an event.
#[derive(Debug)]
pub(super) struct AuditEvent<'a> {
    members: Vec<Item<'a>>,
}

impl<'a> AuditEvent<'a> {
    pub(super) fn read(line: &'a [u8]) -> Self {
        Self {
            members: Items::of(line).collect(),
        }
    }

    /// The raw value at a path of keys joined by dots; null counts as none.
    pub(super) fn value(&self, path: &str) -> Option<&'a [u8]> {
        let mut keys = path.split('.');
        let first = keys.next().and_then(|key| self.top(key));
        let nested = keys.fold(first, |value, key| member(value?, key));
        let value = nested.or_else(|| self.top(path));
        value.filter(|value| *value != b"null")
    }

    /// The text of a string that is not empty, a number or a boolean.
    pub(super) fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        let value = self.value(path)?;
        let text = match value.first()? {
            b'{' | b'[' => return None,
            b'"' => decoded(string_span(value)?),
            _ => String::from_utf8_lossy(value),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The first IP address of a field that may hold a list of them.
    pub(super) fn address(&self, path: &str) -> Option<IpAddr> {
        let text = self.text(path)?;
        text.split(',').find_map(|part| part.trim().parse().ok())
    }

    pub(super) fn severity(&self) -> Option<Severity> {
        severity_of(&self.text("severity")?)
    }

    fn top(&self, key: &str) -> Option<&'a [u8]> {
        let found = self.members.iter().find(|item| item.is(key));
        found.map(|item| item.value)
    }
}

/// The service name and the instance of a CRN: `crn:v1:cname:ctype:service:region:scope:instance:type:resource`.
pub(super) fn crn_service_and_instance(crn: &str) -> Option<(&str, &str)> {
    let mut parts = crn.strip_prefix("crn:")?.split(':');
    let service = parts.nth(3).filter(|service| !service.is_empty())?;
    Some((service, parts.nth(2).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_nested_flat_and_of_any_scalar_type() {
        let line = br#"{"initiator.id":"flat","initiator":{"name":"n","host":{"address":"x, 10.0.0.1,10.0.0.2"}},"reason":"text","reason.reasonCode":0,"dataEvent":"true","action":null,"message":""}"#;
        let event = AuditEvent::read(line);
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(event.text(path).as_deref(), expected, "{path}");
        };
        check("initiator.id", Some("flat"));
        check("initiator.name", Some("n"));
        check("reason.reasonCode", Some("0"));
        check("dataEvent", Some("true"));
        check("action", None);
        check("message", None);
        check("initiator", None);
        check("target.id", None);
        let address = event.address("initiator.host.address");
        assert_eq!(address, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_crn_names_service_and_instance() {
        let crn = "crn:v1:bluemix:public:kms:us-south:a/1:instance:key:1";
        assert_eq!(crn_service_and_instance(crn), Some(("kms", "instance")));
        assert_eq!(
            crn_service_and_instance("crn:v1:bluemix:public:kms"),
            Some(("kms", ""))
        );
        assert_eq!(crn_service_and_instance("crn:v1:bluemix:public::x"), None);
        assert_eq!(crn_service_and_instance("kms"), None);
    }
}
