//! What the proxy says in the server's place, and what it reads of the server's answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};

use super::proxy::Fault;

/// Operations that tell the capacity which they took, when asked.
const COUNTED: [&str; 12] = [
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "ExecuteStatement",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
];

/// How a call is refused; `None` where it is not.
pub(super) fn refusal(fault: Fault) -> Option<Response<Full<Bytes>>> {
    let (code, name, message) = match fault {
        Fault::Exceeded | Fault::Hot => (
            400,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        ),
        Fault::Throttled => (
            400,
            "com.amazon.coral.availability#ThrottlingException",
            "Rate of requests exceeds the allowed throughput.",
        ),
        Fault::Expired => (
            400,
            "com.amazon.coral.service#ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        Fault::ServerError => (
            500,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "The request processing has failed.",
        ),
        Fault::Unprocessed
        | Fault::Reset
        | Fault::ResetAfter
        | Fault::Swallowed
        | Fault::Late(_)
        | Fault::Slow(_) => return None,
    };
    let mut body = json!({ "__type": name, "message": message });
    if fault == Fault::Hot {
        let resource = "arn:aws:dynamodb:us-east-1:000000000000:table/t";
        let reason = json!({ "reason": "TableWriteKeyRangeThroughputExceeded", "resource": resource });
        body["ThrottlingReasons"] = json!([reason]);
    }
    Some(response(code, &body))
}

/// An answer in the protocol's form.
pub(super) fn response(code: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(code).expect("a status");
    let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

/// The call, asking for the capacity that it takes unless it does already. The server does not look at signatures.
pub(super) fn counted(operation: &str, body: Bytes) -> Bytes {
    const ASK: &[u8] = br#""ReturnConsumedCapacity""#;
    if !COUNTED.contains(&operation) || body.windows(ASK.len()).any(|part| part == ASK) {
        return body;
    }
    let Some(rest) = body.strip_prefix(b"{") else { return body };
    let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    [br#"{"ReturnConsumedCapacity":"TOTAL""#, comma, rest].concat().into()
}

/// The capacity units that an answer tells of.
pub(super) fn units(body: &Bytes) -> f64 {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return 0.0 };
    let told = match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().collect(),
        one => vec![one],
    };
    told.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum()
}
