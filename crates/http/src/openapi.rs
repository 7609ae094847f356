//! The description of the API: what the handlers say of themselves, completed with what holds for every route.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reeve_platform::Permission;
use reeve_types::ProblemCode;
use serde_json::{Map, Value, json};

use crate::declare::{self, RouteEntry};
use crate::problem::PROBLEM_JSON;

const ABOUT: &str = "A steward for AI agents: tools that reach real systems, one gate that every act passes, one inbox \
    for people, one record that can be proved. Every path under /api/v1 answers under /v1, too.";

/// The OpenAPI 3.1 document of this version, as it is served under `/api/v1/openapi.json`.
pub fn document(version: &str) -> String {
    let routes = declare::all();
    let mut document = serde_json::to_value(&routes.api).unwrap_or_else(|_| json!({}));
    document["info"] = json!({
        "title": "Reeve", "version": version, "description": ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["servers"] = json!([{"url": "/"}]);
    document["components"]["securitySchemes"] = json!({
        "key": {
            "type": "http", "scheme": "bearer",
            "description": "An API key, or the access token of a sign-in: `Authorization: Bearer KEY`.",
        },
    });
    document["components"]["schemas"]["Problem"] = problem_schema();
    for route in routes.table.iter().filter(|route| route.documented) {
        let operation = &mut document["paths"][&route.path][route.method.to_lowercase()];
        if let Value::Object(operation) = operation {
            complete(operation, route);
        }
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// What holds for every route: its permission, how to prove who you are, and the problems that any route may answer with.
fn complete(operation: &mut Map<String, Value>, route: &RouteEntry) {
    operation.insert("x-permission".to_owned(), route.permission.as_str().into());
    operation.insert("x-rate-class".to_owned(), route.rate.as_str().into());
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let mut add = |status: &str, description: &str| {
        if responses.get(status).is_none() {
            responses[status] = problem_response(description);
        }
    };
    add("default", "It was not done; the problem says why.");
    if route.permission == Permission::Public {
        return;
    }
    add("401", "You have not said who you are.");
    add("403", "You may not do this.");
    operation.insert("security".to_owned(), json!([{"key": []}]));
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Value::Array(parameters) = parameters {
        parameters.extend(common_headers(route));
    }
}

fn common_headers(route: &RouteEntry) -> Vec<Value> {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "required": false, "description": description, "schema": {"type": "string"}});
    let mut headers =
        vec![header("X-User", "The person that a service asks for; with identity switched off, the caller's name.")];
    if route.method != "GET" {
        headers.push(header(
            "X-Purpose",
            "Why: diagnostic, remediation, maintenance, compliance, emergency or fleet_rollout. Beats the body.",
        ));
        headers.push(header("X-Purpose-Note", "The same in your words. Beats the body."));
        headers.push(header("X-Trace-ID", "The journey that this belongs to; echoed."));
    }
    headers
}

fn problem_response(description: &str) -> Value {
    let content = BTreeMap::from([(PROBLEM_JSON, json!({"schema": {"$ref": "#/components/schemas/Problem"}}))]);
    json!({"description": description, "content": content})
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "description": "Why something was not done (RFC 9457). More members may follow: reasons, explanation, decision, report.",
        "required": ["type", "title", "status", "detail", "instance", "code", "message", "error", "request_id"],
        "properties": {
            "type": text, "title": text, "status": {"type": "integer"}, "detail": text, "instance": text,
            "code": {"type": "string", "enum": codes}, "message": text, "error": text, "request_id": text,
        },
    })
}

/// The page's style; its digest stands in the content security policy.
pub(crate) const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
    h2{margin-top:2.5rem;border-bottom:1px solid #ccc}code{font-family:ui-monospace,monospace}\
    section{margin:1.2rem 0}.m{display:inline-block;min-width:4.5rem;font-weight:700}table{border-collapse:collapse;width:100%}\
    td{border-top:1px solid #ddd;padding:.2rem .6rem .2rem 0;vertical-align:top}summary{cursor:pointer}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#151515}h2{border-color:#555}td{border-color:#444}a{color:#9cf}}";

/// The same as a page for people: no scripts, no requests to anywhere.
pub(crate) fn page(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}: API</title><style>{STYLE}</style></head><body><h1>{title} {}</h1><p>{}</p>\
         <p><a href=\"/api/v1/openapi.json\">openapi.json</a></p>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
    );
    let mut by_tag: BTreeMap<String, String> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = text(&operation["tags"][0]);
            section(by_tag.entry(tag).or_default(), method, path, operation);
        }
    }
    for (tag, sections) in by_tag {
        let _ = write!(html, "<h2 id=\"{tag}\">{tag}</h2>{sections}");
    }
    html.push_str("</body></html>\n");
    html
}

fn section(html: &mut String, method: &str, path: &str, operation: &Value) {
    let permission = text(&operation["x-permission"]);
    let _ = write!(
        html,
        "<section><div><span class=\"m\">{}</span><code>{}</code> <small>({permission})</small></div><div>{}</div>",
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
    );
    let description = text(&operation["description"]);
    if !description.is_empty() {
        let _ = write!(html, "<p>{description}</p>");
    }
    html.push_str("<details><summary>parameters and answers</summary><table>");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        row(html, &text(&parameter["name"]), &text(&parameter["in"]), &text(&parameter["description"]));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let kinds: Vec<String> =
            response["content"].as_object().into_iter().flatten().map(|(kind, _)| escape(kind)).collect();
        row(html, &escape(status), &kinds.join(", "), &text(&response["description"]));
    }
    html.push_str("</table></details></section>");
}

fn row(html: &mut String, name: &str, kind: &str, description: &str) {
    let _ = write!(html, "<tr><td><code>{name}</code></td><td>{kind}</td><td>{description}</td></tr>");
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_operation_and_no_script() {
        let document: Value = serde_json::from_str(&document("1.2.3")).unwrap();
        let html = page(&document);
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(html.contains(&escape(path)), "{path}");
        }
        assert!(!html.contains("<script"));
    }

    #[test]
    fn a_text_of_the_document_cannot_become_markup() {
        assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
