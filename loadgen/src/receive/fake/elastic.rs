//! Elasticsearch: bulk requests with a result for each document.
//!
//! A document is taken once for each `_id`; a second `create` is a conflict. `@timestamp`, when it is
//! the first member, was put there on the way and is taken off what is kept.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Answer, is_poison};
use crate::http1::RequestHead;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::receive) struct Elastic {
    token: Option<String>,
    busy_every: Option<u64>,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    ids: HashSet<String>,
    /// Documents seen, for the share that is answered with 429.
    seen: u64,
}

/// What becomes of a document.
enum Result {
    Created,
    Failed(u16, &'static str, String),
}

impl Elastic {
    pub(super) fn new(token: Option<String>, busy_every: Option<u64>) -> Self {
        Self {
            token,
            busy_every,
            index: Mutex::default(),
        }
    }

    /// The greeting.
    pub(super) fn question(&self, head: &RequestHead) -> Option<Answer> {
        let greeting =
            r#"{"name":"fake","version":{"number":"8.15.0"},"tagline":"You Know, for Search"}"#;
        matches!(head.method.as_str(), "GET" | "HEAD").then(|| Answer::of(200, greeting))
    }

    /// A bulk request.
    pub(super) fn events(&self, head: &RequestHead, body: &str) -> Answer {
        let presented = head.authorization.as_deref().unwrap_or_default();
        if let Some(token) = &self.token
            && presented.strip_prefix("ApiKey ") != Some(token)
        {
            return error(
                401,
                "security_exception",
                "unable to authenticate with provided credentials",
            );
        }
        let path = head.target.split('?').next().unwrap_or_default();
        if !path.ends_with("/_bulk") {
            return error(
                400,
                "illegal_argument_exception",
                "no handler found for uri",
            );
        }
        let refused = |why| error(400, "illegal_argument_exception", why);
        if !body.ends_with('\n') {
            return refused("The bulk request must be terminated by a newline [\\n]");
        }
        let mut lines = body.lines();
        let (mut items, mut taken, mut errors) = (Vec::new(), Vec::new(), false);
        while let Some(action) = lines.next() {
            let action = serde_json::from_str::<Value>(action).unwrap_or_default();
            let names = ["create", "index"];
            let Some(name) = names.into_iter().find(|name| action.get(name).is_some()) else {
                return refused("Malformed action/metadata line, expected one of [create, index]");
            };
            let Some(document) = lines.next() else {
                return refused("Validation Failed: 1: no requests added;");
            };
            let id = action[name]["_id"].as_str().unwrap_or_default();
            let item = match self.judge(name, id, document) {
                Result::Created => {
                    taken.extend_from_slice(without_timestamp(document).as_bytes());
                    taken.push(b'\n');
                    json!({ "_id": id, "result": "created", "status": 201 })
                }
                Result::Failed(status, kind, reason) => {
                    errors = true;
                    json!({ "_id": id, "status": status, "error": { "type": kind, "reason": reason } })
                }
            };
            items.push(json!({ name: item }).to_string());
        }
        // In the order of the real reply, where `errors` comes before the items.
        let body = format!(
            "{{\"took\":1,\"errors\":{errors},\"items\":[{}]}}",
            items.join(",")
        );
        let mut answer = Answer::of(200, body);
        answer.taken = taken;
        answer
    }

    fn judge(&self, action: &str, id: &str, document: &str) -> Result {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.seen += 1;
        let parsed = serde_json::from_str::<Value>(document).unwrap_or_default();
        if !parsed.is_object() || is_poison(&parsed) {
            let why = "failed to parse".to_owned();
            return Result::Failed(400, "mapper_parsing_exception", why);
        }
        if self
            .busy_every
            .is_some_and(|every| index.seen.is_multiple_of(every))
        {
            let why = "rejected execution of coordinating operation".to_owned();
            return Result::Failed(429, "es_rejected_execution_exception", why);
        }
        let is_new = id.is_empty() || index.ids.insert(id.to_owned());
        if is_new || action == "index" {
            return Result::Created;
        }
        let why =
            format!("[{id}]: version conflict, document already exists (current version [1])");
        Result::Failed(409, "version_conflict_engine_exception", why)
    }
}

fn error(status: u16, kind: &str, reason: &str) -> Answer {
    let body = json!({ "error": { "type": kind, "reason": reason }, "status": status });
    Answer::of(status, body.to_string())
}

fn without_timestamp(document: &str) -> String {
    let rest = document.strip_prefix("{\"@timestamp\":\"");
    let rest = rest
        .and_then(|rest| rest.split_once('"'))
        .map(|(_, rest)| rest);
    rest.map_or_else(
        || document.to_owned(),
        |rest| format!("{{{}", rest.trim_start_matches(',')),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::*;

    fn bulk(documents: &[(&str, &str)]) -> String {
        let pair = |(id, document): &(&str, &str)| {
            format!("{{\"create\":{{\"_id\":\"{id}\"}}}}\n{document}\n")
        };
        documents.iter().map(pair).collect()
    }

    fn statuses(answer: &Answer) -> (bool, Vec<u64>) {
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let items = body["items"].as_array().unwrap();
        let statuses = items
            .iter()
            .map(|item| item["create"]["status"].as_u64().unwrap());
        (body["errors"].as_bool().unwrap(), statuses.collect())
    }

    #[test]
    fn each_document_has_its_result_and_is_taken_once() {
        let elastic = Elastic::new(None, None);
        let request = head("POST /audit/_bulk?filter_path=errors", "");
        let first = bulk(&[
            ("a", r#"{"@timestamp":"2025-01-02T03:04:05.670Z","n": 1}"#),
            ("b", r#"{"poison":true}"#),
            ("c", r#"{"@timestamp":"2025-01-02T03:04:05.670Z"}"#),
        ]);
        let answer = elastic.events(&request, &first);
        assert_eq!(statuses(&answer), (true, vec![201, 400, 201]));
        assert_eq!(answer.taken, b"{\"n\": 1}\n{}\n");
        let again = elastic.events(&request, &first);
        assert_eq!(statuses(&again), (true, vec![409, 400, 409]));
        assert_eq!(again.taken, b"");
        let fine = elastic.events(&request, &bulk(&[("d", "{}")]));
        assert_eq!(statuses(&fine), (false, vec![201]));
    }

    #[test]
    fn a_share_of_documents_is_too_many() {
        let elastic = Elastic::new(None, Some(2));
        let documents = bulk(&[("a", "{}"), ("b", "{}"), ("c", "{}")]);
        let request = head("POST /_bulk", "");
        let answer = elastic.events(&request, &documents);
        assert_eq!(statuses(&answer), (true, vec![201, 429, 201]));
    }

    #[test]
    fn requests_it_cannot_read_are_refused_whole() {
        let elastic = Elastic::new(Some("tok".into()), None);
        let known = "Authorization: ApiKey tok\r\n";
        let good = bulk(&[("a", "{}")]);
        let cases = [
            ("POST /_bulk", known, good.as_str(), 200),
            ("POST /_bulk", "", good.as_str(), 401),
            (
                "POST /_bulk",
                "Authorization: Bearer tok\r\n",
                good.as_str(),
                401,
            ),
            ("POST /audit", known, good.as_str(), 400),
            ("POST /_bulk", known, good.trim_end(), 400),
            ("POST /_bulk", known, "{\"delete\":{}}\n", 400),
            ("POST /_bulk", known, "{\"create\":{}}\n", 400),
        ];
        for (request, headers, body, expected) in cases {
            let answer = elastic.events(&head(request, headers), body);
            assert_eq!(answer.status, expected, "{request} {body}");
        }
    }
}
