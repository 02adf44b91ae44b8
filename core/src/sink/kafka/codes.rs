//! What each error code of the protocol means for the records of a request: one table.

use Meaning::{Busy, Delivered, Failed, KeptOut, NoTopic, Refused, Sequence, Stale};

/// What a code means for the records that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// They are there.
    Delivered,
    /// What we know of the cluster is out of date: who leads a partition, or that there is one. Looked up and tried again,
    /// using up no attempt.
    Stale,
    /// The cluster cannot take them now. Tried again, using up no attempt.
    Busy,
    /// Somebody has to change rights, credentials or configuration first. Tried again, using up no attempt.
    KeptOut,
    /// Something in them is bad, or they are too large together. Sent in smaller parts; what is refused alone is rejected.
    Refused,
    /// There can be no such topic: its records are rejected.
    NoTopic,
    /// The broker does not know our sequence numbers, or knows others. Sent again under a new producer id.
    Sequence,
    /// Anything else, also what no answer to our requests can have. Tried again; it uses up an attempt.
    Failed,
}

/// Code, name, meaning: all that Kafka 4.1 has, in order.
static CODES: &[(i16, &str, Meaning)] = &[
    (-1, "UNKNOWN_SERVER_ERROR", Failed),
    (0, "NONE", Delivered),
    (1, "OFFSET_OUT_OF_RANGE", Failed),
    (2, "CORRUPT_MESSAGE", Failed),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Stale),
    (4, "INVALID_FETCH_SIZE", Failed),
    (5, "LEADER_NOT_AVAILABLE", Stale),
    (6, "NOT_LEADER_OR_FOLLOWER", Stale),
    (7, "REQUEST_TIMED_OUT", Busy),
    (8, "BROKER_NOT_AVAILABLE", Stale),
    (9, "REPLICA_NOT_AVAILABLE", Stale),
    (10, "MESSAGE_TOO_LARGE", Refused),
    (11, "STALE_CONTROLLER_EPOCH", Failed),
    (12, "OFFSET_METADATA_TOO_LARGE", Failed),
    (13, "NETWORK_EXCEPTION", Stale),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Busy),
    (15, "COORDINATOR_NOT_AVAILABLE", Busy),
    (16, "NOT_COORDINATOR", Busy),
    (17, "INVALID_TOPIC_EXCEPTION", NoTopic),
    (18, "RECORD_LIST_TOO_LARGE", Refused),
    (19, "NOT_ENOUGH_REPLICAS", Busy),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Busy),
    (21, "INVALID_REQUIRED_ACKS", KeptOut),
    (22, "ILLEGAL_GENERATION", Failed),
    (23, "INCONSISTENT_GROUP_PROTOCOL", Failed),
    (24, "INVALID_GROUP_ID", Failed),
    (25, "UNKNOWN_MEMBER_ID", Failed),
    (26, "INVALID_SESSION_TIMEOUT", Failed),
    (27, "REBALANCE_IN_PROGRESS", Failed),
    (28, "INVALID_COMMIT_OFFSET_SIZE", Failed),
    (29, "TOPIC_AUTHORIZATION_FAILED", KeptOut),
    (30, "GROUP_AUTHORIZATION_FAILED", KeptOut),
    (31, "CLUSTER_AUTHORIZATION_FAILED", KeptOut),
    (32, "INVALID_TIMESTAMP", Refused),
    (33, "UNSUPPORTED_SASL_MECHANISM", KeptOut),
    (34, "ILLEGAL_SASL_STATE", KeptOut),
    (35, "UNSUPPORTED_VERSION", KeptOut),
    (36, "TOPIC_ALREADY_EXISTS", Failed),
    (37, "INVALID_PARTITIONS", Failed),
    (38, "INVALID_REPLICATION_FACTOR", Failed),
    (39, "INVALID_REPLICA_ASSIGNMENT", Failed),
    (40, "INVALID_CONFIG", Failed),
    (41, "NOT_CONTROLLER", Failed),
    (42, "INVALID_REQUEST", Failed),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", KeptOut),
    (44, "POLICY_VIOLATION", Failed),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Sequence),
    (46, "DUPLICATE_SEQUENCE_NUMBER", Delivered),
    (47, "INVALID_PRODUCER_EPOCH", Sequence),
    (48, "INVALID_TXN_STATE", Failed),
    (49, "INVALID_PRODUCER_ID_MAPPING", Sequence),
    (50, "INVALID_TRANSACTION_TIMEOUT", Failed),
    (51, "CONCURRENT_TRANSACTIONS", Busy),
    (52, "TRANSACTION_COORDINATOR_FENCED", Failed),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", KeptOut),
    (54, "SECURITY_DISABLED", KeptOut),
    (55, "OPERATION_NOT_ATTEMPTED", Failed),
    (56, "KAFKA_STORAGE_ERROR", Stale),
    (57, "LOG_DIR_NOT_FOUND", Failed),
    (58, "SASL_AUTHENTICATION_FAILED", KeptOut),
    (59, "UNKNOWN_PRODUCER_ID", Sequence),
    (60, "REASSIGNMENT_IN_PROGRESS", Busy),
    (61, "DELEGATION_TOKEN_AUTH_DISABLED", KeptOut),
    (62, "DELEGATION_TOKEN_NOT_FOUND", KeptOut),
    (63, "DELEGATION_TOKEN_OWNER_MISMATCH", KeptOut),
    (64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", KeptOut),
    (65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", KeptOut),
    (66, "DELEGATION_TOKEN_EXPIRED", KeptOut),
    (67, "INVALID_PRINCIPAL_TYPE", KeptOut),
    (68, "NON_EMPTY_GROUP", Failed),
    (69, "GROUP_ID_NOT_FOUND", Failed),
    (70, "FETCH_SESSION_ID_NOT_FOUND", Failed),
    (71, "INVALID_FETCH_SESSION_EPOCH", Failed),
    (72, "LISTENER_NOT_FOUND", Stale),
    (73, "TOPIC_DELETION_DISABLED", Failed),
    (74, "FENCED_LEADER_EPOCH", Stale),
    (75, "UNKNOWN_LEADER_EPOCH", Stale),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", KeptOut),
    (77, "STALE_BROKER_EPOCH", Failed),
    (78, "OFFSET_NOT_AVAILABLE", Failed),
    (79, "MEMBER_ID_REQUIRED", Failed),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE", Stale),
    (81, "GROUP_MAX_SIZE_REACHED", Failed),
    (82, "FENCED_INSTANCE_ID", Failed),
    (83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", Stale),
    (84, "ELECTION_NOT_NEEDED", Failed),
    (85, "NO_REASSIGNMENT_IN_PROGRESS", Failed),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC", Failed),
    (87, "INVALID_RECORD", Refused),
    (88, "UNSTABLE_OFFSET_COMMIT", Failed),
    (89, "THROTTLING_QUOTA_EXCEEDED", Busy),
    (90, "PRODUCER_FENCED", Sequence),
    (91, "RESOURCE_NOT_FOUND", Failed),
    (92, "DUPLICATE_RESOURCE", Failed),
    (93, "UNACCEPTABLE_CREDENTIAL", KeptOut),
    (94, "INCONSISTENT_VOTER_SET", Failed),
    (95, "INVALID_UPDATE_VERSION", Failed),
    (96, "FEATURE_UPDATE_FAILED", Failed),
    (97, "PRINCIPAL_DESERIALIZATION_FAILURE", KeptOut),
    (98, "SNAPSHOT_NOT_FOUND", Failed),
    (99, "POSITION_OUT_OF_RANGE", Failed),
    (100, "UNKNOWN_TOPIC_ID", Stale),
    (101, "DUPLICATE_BROKER_REGISTRATION", Failed),
    (102, "BROKER_ID_NOT_REGISTERED", Failed),
    (103, "INCONSISTENT_TOPIC_ID", Stale),
    (104, "INCONSISTENT_CLUSTER_ID", Failed),
    (105, "TRANSACTIONAL_ID_NOT_FOUND", Failed),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR", Failed),
    (107, "INELIGIBLE_REPLICA", Failed),
    (108, "NEW_LEADER_ELECTED", Stale),
    (109, "OFFSET_MOVED_TO_TIERED_STORAGE", Failed),
    (110, "FENCED_MEMBER_EPOCH", Failed),
    (111, "UNRELEASED_INSTANCE_ID", Failed),
    (112, "UNSUPPORTED_ASSIGNOR", Failed),
    (113, "STALE_MEMBER_EPOCH", Failed),
    (114, "MISMATCHED_ENDPOINT_TYPE", Failed),
    (115, "UNSUPPORTED_ENDPOINT_TYPE", Failed),
    (116, "UNKNOWN_CONTROLLER_ID", Failed),
    (117, "UNKNOWN_SUBSCRIPTION_ID", Failed),
    (118, "TELEMETRY_TOO_LARGE", Failed),
    (119, "INVALID_REGISTRATION", Failed),
    (120, "TRANSACTION_ABORTABLE", Failed),
    (121, "INVALID_RECORD_STATE", Failed),
    (122, "SHARE_SESSION_NOT_FOUND", Failed),
    (123, "INVALID_SHARE_SESSION_EPOCH", Failed),
    (124, "FENCED_STATE_EPOCH", Failed),
    (125, "INVALID_VOTER_KEY", Failed),
    (126, "DUPLICATE_VOTER", Failed),
    (127, "VOTER_NOT_FOUND", Failed),
    (128, "INVALID_REGULAR_EXPRESSION", Failed),
    (129, "REBOOTSTRAP_REQUIRED", Stale),
    (130, "STREAMS_INVALID_TOPOLOGY", Failed),
    (131, "STREAMS_INVALID_TOPOLOGY_EPOCH", Failed),
    (132, "STREAMS_TOPOLOGY_FENCED", Failed),
    (133, "SHARE_SESSION_LIMIT_REACHED", Failed),
];

/// The code of success.
pub(super) const NONE: i16 = 0;

/// The name of a code.
pub(super) fn name(code: i16) -> String {
    row(code).map_or_else(|| format!("error {code}"), |(_, name, _)| (*name).to_owned())
}

/// The meaning of a code.
pub(super) fn meaning(code: i16) -> Meaning {
    row(code).map_or(Failed, |(_, _, meaning)| *meaning)
}

/// The meaning of a code by its name.
pub(super) fn meaning_of(name: &str) -> Meaning {
    CODES.iter().find(|(_, known, _)| *known == name).map_or(Failed, |(_, _, meaning)| *meaning)
}

fn row(code: i16) -> Option<&'static (i16, &'static str, Meaning)> {
    CODES.get(usize::try_from(code.checked_add(1)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last code of Kafka 4.1. `tests/kafka` compares all with the names that the broker itself has.
    const LAST: i16 = 133;

    #[test]
    fn every_code_is_in_the_table_once_and_in_order() {
        let codes: Vec<i16> = CODES.iter().map(|(code, _, _)| *code).collect();
        assert_eq!(codes, (-1..=LAST).collect::<Vec<_>>());
        let mut names: Vec<_> = CODES.iter().map(|(_, name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CODES.len());
        for (code, name, expected) in CODES {
            assert_eq!((&self::name(*code)[..], meaning(*code)), (*name, *expected));
        }
    }

    #[test]
    fn a_code_that_is_not_known_is_a_failed_attempt() {
        for code in [i16::MIN, -2, LAST + 1, i16::MAX] {
            assert_eq!((meaning(code), name(code)), (Failed, format!("error {code}")));
        }
    }

    /// What the table says of the codes that a request to produce can be answered with.
    #[test]
    fn what_becomes_of_records() {
        for (expected, codes) in [
            (Delivered, &[0, 46][..]),
            (Stale, &[3, 5, 6, 56, 74, 75, 100]),
            (Busy, &[7, 19, 20, 89]),
            (KeptOut, &[21, 29, 31, 35, 58, 76]),
            (Refused, &[10, 18, 32, 87]),
            (NoTopic, &[17]),
            (Sequence, &[45, 47, 59]),
            (Failed, &[-1, 2, 42, 120]),
        ] {
            for code in codes {
                assert_eq!(meaning(*code), expected, "{}", name(*code));
            }
        }
    }
}
