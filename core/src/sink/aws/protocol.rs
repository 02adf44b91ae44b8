//! The JSON protocol of AWS: how an answer of a service is recognised, and what its error codes mean.

use serde::Deserialize;

use crate::sink::net::failure::{CallError, Fault, Origin, classify};
use crate::sink::net::http::Answer;
use crate::sink::net::redact::brief;

/// What a service says about a call that it did not carry out.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaint {
    __type: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl Complaint {
    /// The error code stands in a header or in the body, as `com.amazonaws.kinesis.v20131202#Code`, `Code:http://...` or
    /// plain `Code`. Nobody but a service of AWS sends one.
    fn of(answer: &Answer) -> Self {
        let body: Complaint = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = answer.header("x-amzn-errortype").unwrap_or(&body.__type);
        let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().trim();
        Complaint { __type: code.to_owned(), ..body }
    }
}

/// Whether the answer says that the service carried out the call: status 200 and no error code. That the answer is the
/// service's at all, the sink must see from the body.
pub(super) fn is_success(answer: &Answer) -> bool {
    answer.status == 200 && Complaint::of(answer).__type.is_empty()
}

/// What any other answer means.
pub(super) fn refusal(operation: &'static str, answer: &Answer) -> CallError {
    let complaint = Complaint::of(answer);
    let code = &complaint.__type[..];
    let origin = match (code, meaning(code)) {
        ("", _) => Origin::Elsewhere,
        (_, Some(fault)) => Origin::Known(fault),
        (_, None) => Origin::Unknown,
    };
    let message = match (brief(&complaint.message.unwrap_or_default(), 1000), origin) {
        (_, Origin::Elsewhere) => format!("HTTP status {}, not in the words of the service", answer.status),
        (message, _) if message.is_empty() => format!("HTTP status {}", answer.status),
        (message, _) => message,
    };
    let code = Some(code).filter(|code| !code.is_empty()).map(|code| brief(code, 100));
    CallError { operation, fault: classify(answer, origin), code, message }
}

/// Whether a code, of one record or of a call, stands for a condition that passes and is not the record's fault.
pub(super) fn is_passing(code: &str) -> bool {
    // The codes of the key service: throttling, a key disabled or in the wrong state, no access to it.
    BUSY.contains(&code) || code.starts_with("KMS")
}

/// Whether the service refuses the keys, so that their source should be asked again.
pub(super) fn is_about_keys(error: &CallError) -> bool {
    error.code.as_deref().is_some_and(|code| KEYS.contains(&code))
}

/// What a code means, if we know it.
fn meaning(code: &str) -> Option<Fault> {
    Some(match code {
        code if is_passing(code) || KEYS.contains(&code) || ACCOUNT.contains(&code) => Fault::UNAVAILABLE,
        "ResourceNotFoundException" => Fault::NotFound,
        "ResourceAlreadyExistsException" | "OperationAbortedException" | "DataAlreadyAcceptedException" => {
            Fault::Exists
        }
        code if ARGUMENTS.contains(&code) => Fault::Refused,
        _ => return None,
    })
}

/// Codes that refuse the keys.
const KEYS: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Codes about the account, its permissions, the clock or the endpoint: they would answer every call alike.
const ACCOUNT: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AccountProblem",
    "AccountProblemException",
    "AccountSuspendedException",
    "AllAccessDisabled",
    "Blocked",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAction",
    "InvalidActionException",
    "InvalidEndpointException",
    "MissingAction",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "NotSignedUp",
    "OptInRequired",
    "PendingVerification",
    "RegionDisabledException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SubscriptionRequired",
    "SubscriptionRequiredException",
    "UnauthorizedOperation",
    "UnknownOperation",
    "UnknownOperationException",
    "UnsupportedOperation",
    "UnsupportedOperationException",
];

/// Codes of throttling and of passing failures of the service.
const BUSY: &[&str] = &[
    "BandwidthLimitExceeded",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ResourceInUseException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes that refuse the contents of the call.
const ARGUMENTS: &[&str] = &[
    "InvalidArgument",
    "InvalidArgumentException",
    "InvalidParameterCombination",
    "InvalidParameterException",
    "InvalidParameterValue",
    "InvalidRequestException",
    "RequestEntityTooLarge",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Fault = Fault::UNAVAILABLE;

    fn error(status: u16, header: Option<&str>, body: &str) -> CallError {
        let header = header.map(|code| ("x-amzn-errortype", code.as_bytes()));
        refusal("PutRecords", &Answer::new(status, header.as_slice(), body.as_bytes()))
    }

    #[test]
    fn faults_by_status_and_code() {
        for (status, code, fault) in [
            (400, "ProvisionedThroughputExceededException", NOW),
            (400, "ThrottlingException", NOW),
            (200, "ThrottlingException", NOW),
            (400, "KMSThrottlingException", NOW),
            (400, "KMSDisabledException", NOW),
            (400, "AccessDeniedException", NOW),
            (400, "ExpiredTokenException", NOW),
            (403, "InvalidSignatureException", NOW),
            (400, "UnrecognizedClientException", NOW),
            (400, "SubscriptionRequiredException", NOW),
            (400, "AccountProblem", NOW),
            (404, "UnknownOperationException", NOW),
            (500, "InternalFailure", NOW),
            (503, "SomethingElse", NOW),
            (200, "SomethingElse", NOW),
            (500, "ValidationException", NOW),
            (400, "ResourceNotFoundException", Fault::NotFound),
            (400, "ResourceAlreadyExistsException", Fault::Exists),
            (400, "OperationAbortedException", Fault::Exists),
            (400, "DataAlreadyAcceptedException", Fault::Exists),
            (400, "ValidationException", Fault::Refused),
            (400, "InvalidArgumentException", Fault::Refused),
            (400, "InvalidParameterException", Fault::Refused),
            (400, "SerializationException", Fault::Refused),
            (400, "SomethingElse", Fault::Failed),
        ] {
            assert_eq!(error(status, Some(code), "").fault, fault, "{status} {code}");
        }
    }

    /// A front end that is overloaded, a proxy, a portal, a wrong endpoint: no service of AWS.
    #[test]
    fn an_answer_without_a_code_is_not_the_services() {
        for body in ["", "<html>busy</html>", "{}", "[]", r#"{"message":"Forbidden"}"#, r#"{"status":"ok"}"#] {
            for status in [204, 302, 400, 401, 403, 404, 405, 407, 408, 429, 451, 500, 502, 503] {
                let error = error(status, None, body);
                assert_eq!(error.fault, NOW, "{status} {body}");
                assert!(error.to_string().starts_with(&format!("PutRecords: HTTP status {status}, not in the words")));
            }
            assert_eq!(error(413, None, body).fault, Fault::Refused, "smaller calls may pass");
        }
    }

    #[test]
    fn codes_in_all_their_forms() {
        let body = r#"{"__type":"com.amazonaws.kinesis.v20131202#ValidationException","message":"why"}"#;
        assert_eq!(error(400, None, body).to_string(), "PutRecords: ValidationException: why");
        let header = Some("ValidationException:http://internal.amazon.com/coral/com.amazon.coral.validate/");
        assert_eq!(error(400, header, r#"{"Message":"why"}"#).to_string(), "PutRecords: ValidationException: why");
        assert_eq!(error(400, None, r#"{"__type":"ValidationException"}"#).fault, Fault::Refused);
    }

    #[test]
    fn success_is_a_status_and_no_code() {
        let success = |status, body: &str| is_success(&Answer::new(status, &[], body.as_bytes()));
        assert!(success(200, "{}") && success(200, "") && success(200, "<html>"), "the sink looks at the body");
        assert!(!success(204, "") && !success(201, "{}"));
        assert!(!success(200, r#"{"__type":"ThrottlingException"}"#));
    }

    #[test]
    fn good_keys_are_kept_where_permissions_are_what_is_missing() {
        assert!(is_about_keys(&error(400, Some("ExpiredTokenException"), "")));
        assert!(!is_about_keys(&error(400, Some("AccessDeniedException"), "")));
        assert!(!is_about_keys(&error(400, None, "")));
    }
}
