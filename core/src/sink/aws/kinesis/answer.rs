//! From an answer to `PutRecords` to the outcome of each record.

use serde::Deserialize;

use super::request::PUT_RECORDS;
use crate::sink::Outcome;
use crate::sink::aws::protocol::is_passing;
use crate::sink::net::delivery::Outcomes;
use crate::sink::net::failure::{CallError, Fault};

/// What an answer says about each record of the call. An answer with more or fewer entries than records says
/// nothing about any.
pub(in crate::sink::aws) fn outcomes(answer: &[u8], records: usize) -> Outcomes {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        records: Vec<Result>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Result {
        sequence_number: Option<String>,
        error_code: Option<String>,
        error_message: Option<String>,
    }
    let answer: Body = serde_json::from_slice(answer)
        .map_err(|error| CallError::undocumented(PUT_RECORDS, format_args!("{error}")))?;
    if answer.records.len() != records {
        let what = format_args!("{} entries for {records} records", answer.records.len());
        return Err(CallError::undocumented(PUT_RECORDS, what));
    }
    let outcome = |result: Result| match (result.error_code.filter(|code| !code.is_empty()), result.sequence_number) {
        (None, Some(_)) => Outcome::Delivered,
        (None, None) => {
            CallError::undocumented(PUT_RECORDS, "an entry has neither a sequence number nor an error").into_outcome()
        }
        (Some(code), _) => {
            let fault = if is_passing(&code) { Fault::UNAVAILABLE } else { Fault::Failed };
            let message = result.error_message.unwrap_or_default();
            CallError { operation: PUT_RECORDS, fault, code: Some(code), message }.into_outcome()
        }
    };
    Ok(answer.records.into_iter().map(outcome).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_record_by_record() {
        let answer = br#"{"FailedRecordCount":3,"Records":[
            {"SequenceNumber":"1","ShardId":"shardId-000000000000"},
            {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"},
            {"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."},
            {"ErrorCode":"KMSThrottlingException"},
            {"ErrorCode":"SomethingNew","ErrorMessage":"?"},
            {"SequenceNumber":"2","ErrorCode":null},
            {}]}"#;
        let outcomes = outcomes(answer, 7).unwrap();
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Delivered => 'd',
                Outcome::Unavailable { .. } => 'u',
                Outcome::Failed { .. } => 'f',
                Outcome::Rejected { .. } => 'r',
            })
            .collect();
        assert_eq!(kinds, ['d', 'u', 'u', 'u', 'f', 'd', 'u']);
        let Outcome::Unavailable { error, .. } = &outcomes[1] else { unreachable!() };
        assert_eq!(error.to_string(), "PutRecords: ProvisionedThroughputExceededException: Rate exceeded");
    }

    #[test]
    fn answers_that_do_not_fit_say_nothing() {
        let one = br#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
        assert!(outcomes(one, 1).is_ok());
        for (answer, records) in [(&one[..], 0), (one, 2), (b"", 1), (b"{}", 1), (b"<html>", 1), (b"[]", 0)] {
            let error = outcomes(answer, records).unwrap_err();
            assert!(matches!(error.into_outcome(), Outcome::Unavailable { .. }));
        }
    }
}
