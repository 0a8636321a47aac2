//! Real answers against the OpenAPI document: status, media type, headers, schema. Stricter than JSON Schema is: a keyword that
//! this does not know, and a property that the schema does not name, fail the test.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Answer;

/// The OpenAPI document of an API, and which of its answers have been seen.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    /// Headers that are documented as being there only sometimes.
    optional: &'static [&'static str],
    seen: Mutex<BTreeSet<String>>,
}

impl Contract {
    /// The contract of this document. `optional` names the headers that it describes and that are not on each answer.
    #[must_use]
    pub fn new(document: Value, optional: &'static [&'static str]) -> Self {
        Self { document, optional, seen: Mutex::default() }
    }

    /// The document itself.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    fn paths(&self) -> &Map<String, Value> {
        self.document["paths"].as_object().unwrap()
    }

    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.paths().iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| (&**path, &**method, operation))
        })
    }

    /// Every documented answer that has not been seen: `get /posts/{id} 200`.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let documented = self.operations().flat_map(|(path, method, operation)| {
            operation["responses"].as_object().unwrap().keys().map(move |status| format!("{method} {path} {status}"))
        });
        documented.filter(|answer| !seen.contains(answer)).collect()
    }

    /// Panics unless the document and a router have the same paths. axum shows those of a router only in its `Debug`.
    pub fn has_the_paths_of(&self, router: &str) {
        let routed: BTreeSet<&str> = router
            .split("RouteId(")
            .filter_map(|part| part.split_once("): \"/"))
            .map(|(_, path)| &path[..path.find('"').unwrap()])
            // How axum answers what no route matches.
            .filter(|path| !path.is_empty() && !path.contains("__private__"))
            .collect();
        let documented = self.paths().keys().map(|path| &path[1..]);
        // A page for people, and its files.
        let page = ["docs", "docs/", "docs/{*file}"];
        assert_eq!(routed, documented.chain(page).collect());
    }

    /// Panics unless the document is of this version, describes each of its parts, and has problem documents for errors.
    pub fn describes_itself(&self, version: &str) {
        assert_eq!(self.document["info"]["version"], version);
        let mut ids = BTreeSet::new();
        for (path, method, operation) in self.operations() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(
                    parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "path"),
                    "{method} {path}"
                );
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = status.starts_with('4') || status.starts_with('5');
                let is_problem =
                    response["content"]["application/problem+json"]["schema"]["$ref"] == "#/components/schemas/Problem";
                assert_eq!(problem, is_problem, "{method} {path} {status}");
            }
        }
    }

    /// The path's template in the document.
    fn template(&self, path: &str) -> Option<&String> {
        let path = path.split('?').next().unwrap();
        let fits = |template: &str| {
            let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(&path).all(|(template, part)| template.starts_with('{') || template == part)
        };
        // A template without parameters goes first, as in the router.
        let mut templates = self.paths().keys();
        templates.clone().find(|template| *template == path).or_else(|| templates.find(|template| fits(template)))
    }

    /// Panics if this is not an answer that the document describes.
    pub fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let Some(template) = self.template(path) else {
            // Files of the documentation, and what is not there at all.
            assert!(answer.status == 404 || path.starts_with("/docs"), "{path} is not in the document: {answer:?}");
            return;
        };
        let name = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
        let operation = &self.paths()[template][&name];
        if operation.is_null() {
            assert_eq!(answer.status, 405, "{name} {template} is not in the document: {answer:?}");
            let allowed: BTreeSet<String> =
                answer.header("allow").to_lowercase().split(',').map(ToOwned::to_owned).collect();
            let mut documented: BTreeSet<String> =
                self.paths()[template].as_object().unwrap().keys().cloned().collect();
            if documented.contains("get") {
                documented.insert("head".to_owned());
            }
            assert_eq!(allowed, documented, "{answer:?}");
            return;
        }
        let status = answer.status.as_str();
        let response = &operation["responses"][status];
        assert!(!response.is_null(), "{name} {template} does not document {status}: {answer:?}");
        self.check_headers(response, &answer.headers, answer);
        if method == Method::HEAD {
            return;
        }
        match response["content"].as_object() {
            None => assert!(answer.body.is_empty(), "a body that is not documented: {answer:?}"),
            Some(content) => {
                let (media_type, described) = content.iter().next().unwrap();
                assert_eq!(answer.header("content-type"), media_type, "{answer:?}");
                if let Some(schema) = described.get("schema") {
                    let value = answer.json();
                    // A problem may have members of its own (RFC 9457).
                    let checked = if media_type == "application/problem+json" {
                        self.matches(&value, schema, &mut BTreeSet::new())
                    } else {
                        self.conforms(&value, schema)
                    };
                    checked.unwrap_or_else(|error| panic!("{error}: {answer:?}"));
                }
            }
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{name} {template} {status}"));
    }

    /// A documented header is there. The optional ones are there only sometimes.
    fn check_headers(&self, response: &Value, headers: &HeaderMap, answer: &Answer) {
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let Some(value) = headers.get(name) else {
                assert!(self.optional.contains(&&**name), "{name} is missing: {answer:?}");
                continue;
            };
            let text = value.to_str().unwrap();
            let value = match header["schema"]["type"].as_str() {
                Some("integer") => serde_json::from_str(text).unwrap(),
                _ => Value::from(text),
            };
            self.conforms(&value, &header["schema"]).unwrap_or_else(|error| panic!("{name}: {error}: {answer:?}"));
        }
    }

    /// Whether the value has this schema.
    fn conforms(&self, value: &Value, schema: &Value) -> Result<(), String> {
        let mut named = BTreeSet::new();
        self.matches(value, schema, &mut named)?;
        // A schema without properties is one for any value.
        if !named.is_empty()
            && let Some(object) = value.as_object()
            && let Some(unknown) = object.keys().find(|key| !named.contains(*key))
        {
            return Err(format!("the schema does not name {unknown:?}"));
        }
        Ok(())
    }

    /// As `conforms`, for a schema that may be one of several for the same object: `named` collects the properties.
    fn matches(&self, value: &Value, schema: &Value, named: &mut BTreeSet<String>) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{value} is not {what}"));
        for (keyword, rule) in schema.as_object().ok_or("a schema is an object")? {
            let fits = match keyword.as_str() {
                "description" | "example" | "additionalProperties" | "default" => true,
                "$ref" => {
                    let name = rule.as_str().and_then(|path| path.strip_prefix("#/components/schemas/")).unwrap();
                    let referred = &self.document["components"]["schemas"][name];
                    self.matches(value, referred, named)?;
                    true
                }
                "allOf" => {
                    rule.as_array().unwrap().iter().try_for_each(|schema| self.matches(value, schema, named))?;
                    true
                }
                "type" => match rule {
                    Value::String(name) => is_a(value, name),
                    Value::Array(names) => names.iter().any(|name| is_a(value, name.as_str().unwrap())),
                    _ => return Err(format!("unknown type {rule}")),
                },
                "format" => has_format(value, rule.as_str().unwrap())?,
                "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
                "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
                "minLength" => length(value).is_none_or(|length| length >= rule.as_u64().unwrap()),
                "maxLength" => length(value).is_none_or(|length| length <= rule.as_u64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
                "items" => {
                    value.as_array().into_iter().flatten().try_for_each(|item| self.conforms(item, rule))?;
                    true
                }
                "required" => {
                    let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    let missing = names.into_iter().find(|name| value.get(name).is_none());
                    missing.map_or(Ok(true), |name| Err(format!("{name} is missing in {value}")))?
                }
                "properties" => {
                    self.properties(value, rule.as_object().unwrap(), named)?;
                    true
                }
                unknown => return Err(format!("this checker does not know the keyword {unknown}")),
            };
            if !fits {
                return wrong(&format!("{keyword} {rule}"));
            }
        }
        Ok(())
    }

    fn properties(
        &self,
        value: &Value,
        rules: &Map<String, Value>,
        named: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        named.extend(rules.keys().cloned());
        rules.iter().try_for_each(|(name, rule)| match value.get(name) {
            Some(member) => self.conforms(member, rule).map_err(|error| format!("{name}: {error}")),
            None => Ok(()),
        })
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// A format is about values of its own type: whether null is allowed, the type says.
fn has_format(value: &Value, format: &str) -> Result<bool, String> {
    match format {
        "date-time" => Ok(value.as_str().is_none_or(|text| OffsetDateTime::parse(text, &Rfc3339).is_ok())),
        "int32" => Ok(value.as_i64().is_none_or(|number| i32::try_from(number).is_ok())),
        "int64" => Ok(true),
        unknown => Err(format!("this checker does not know the format {unknown}")),
    }
}

/// In characters, which is what JSON Schema counts.
fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}
