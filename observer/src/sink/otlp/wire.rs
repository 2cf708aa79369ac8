//! OTLP's messages as JSON (opentelemetry-proto 1.x, `ExportTraceServiceRequest`): identifiers in hexadecimal, 64-bit
//! numbers as text.

use std::fmt::Display;

use observer::time::Timestamp;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    pub resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpans<'a> {
    pub resource: Resource,
    pub scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
pub struct Resource {
    pub attributes: Vec<Attribute>,
}

#[derive(Serialize)]
pub struct ScopeSpans<'a> {
    pub scope: Scope,
    pub spans: &'a [Span],
}

#[derive(Serialize)]
pub struct Scope {
    pub name: &'static str,
    pub version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    #[serde(serialize_with = "hex")]
    pub trace_id: [u8; 16],
    #[serde(serialize_with = "hex")]
    pub span_id: [u8; 8],
    #[serde(serialize_with = "hex", skip_serializing_if = "is_none")]
    pub parent_span_id: [u8; 8],
    pub name: String,
    #[serde(serialize_with = "number")]
    pub kind: Kind,
    #[serde(serialize_with = "nanos")]
    pub start_time_unix_nano: Timestamp,
    #[serde(serialize_with = "nanos")]
    pub end_time_unix_nano: Timestamp,
    pub attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    pub status: Status,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Internal = 1,
    Client = 3,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(serialize_with = "nanos")]
    pub time_unix_nano: Timestamp,
    pub name: &'static str,
    pub attributes: Vec<Attribute>,
}

/// `{}` is "unset".
#[derive(Default, Serialize)]
pub struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Status {
    /// `STATUS_CODE_ERROR`, with a description.
    pub fn error(message: String) -> Self {
        Self { code: Some(2), message: Some(message) }
    }
}

#[derive(Serialize)]
pub struct Attribute {
    pub key: &'static str,
    pub value: Value,
}

#[derive(Serialize)]
pub enum Value {
    #[serde(rename = "stringValue")]
    String(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "intValue", serialize_with = "text")]
    Int(u64),
    #[serde(rename = "arrayValue")]
    Array { values: Vec<Value> },
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_string())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(number)
    }
}

impl From<&[String]> for Value {
    fn from(texts: &[String]) -> Self {
        Self::Array { values: texts.iter().map(|text| Self::from(text.as_str())).collect() }
    }
}

fn is_none(id: &[u8; 8]) -> bool {
    *id == [0; 8]
}

fn hex<const LEN: usize, S: Serializer>(id: &[u8; LEN], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
}

fn text<S: Serializer>(number: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn nanos<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.as_nanos())
}

fn number<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*kind as u8)
}
