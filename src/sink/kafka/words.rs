//! What librdkafka's errors mean: the word for each, and whether a retry alone will help. Pure.
//!
//! The words are librdkafka's own texts (`rd_kafka_err2str`), without `Local:` or `Broker:`, in
//! lower case with underscores, where operators know them from other products:
//! `Local: Broker transport failure` is `broker_transport_failure`. Those that are sentences are
//! called as rdkafka calls them: `all_brokers_down`.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What an error means for a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Ours or the administrator's: a retry alone will not help.
    Refusal,
    /// A passing trouble.
    Passing,
    /// The message is too large.
    TooLarge,
    /// A consequence of another error, which says more.
    Consequence,
}

/// The word for an error, and what it means.
pub(super) fn judge(code: Code) -> (&'static str, Side) {
    use Side::{Consequence, Passing, Refusal, TooLarge};
    match code {
        Code::Authentication => ("authentication_failure", Refusal),
        Code::SaslAuthenticationFailed => ("sasl_authentication_failed", Refusal),
        Code::UnsupportedSASLMechanism => ("unsupported_sasl_mechanism", Refusal),
        Code::TopicAuthorizationFailed => ("topic_authorization_failed", Refusal),
        Code::ClusterAuthorizationFailed => ("cluster_authorization_failed", Refusal),
        Code::UnknownTopic => ("unknown_topic", Refusal),
        Code::UnknownTopicOrPartition => ("unknown_topic_or_partition", Refusal),
        Code::UnknownPartition => ("unknown_partition", Refusal),
        Code::InvalidTopic => ("invalid_topic", Refusal),
        Code::InvalidRecord | Code::InvalidDifferentRecord | Code::InvalidTimestamp => {
            ("invalid_record", Refusal)
        }
        Code::PolicyViolation => ("policy_violation", Refusal),
        Code::UnsupportedFeature | Code::UnsupportedVersion | Code::UnsupportedCompressionType => {
            ("unsupported_feature", Refusal)
        }
        Code::SSL => ("ssl_error", Refusal),
        Code::InvalidArgument | Code::InvalidConfig => ("kafka_configuration", Refusal),
        Code::MessageSizeTooLarge => ("message_size_too_large", TooLarge),
        Code::MessageBatchTooLarge => ("message_batch_too_large", TooLarge),
        Code::BrokerTransportFailure | Code::NetworkException => {
            ("broker_transport_failure", Passing)
        }
        Code::AllBrokersDown => ("all_brokers_down", Passing),
        Code::BrokerDestroy | Code::DestroyBroker => ("broker_handle_destroyed", Passing),
        Code::Resolve => ("host_resolution_failure", Passing),
        Code::MessageTimedOut | Code::TimedOutQueue => ("message_timed_out", Passing),
        Code::OperationTimedOut => ("timed_out", Passing),
        Code::RequestTimedOut => ("request_timed_out", Passing),
        Code::LeaderNotAvailable => ("leader_not_available", Passing),
        Code::NotLeaderForPartition => ("not_leader_for_partition", Passing),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            ("not_enough_replicas", Passing)
        }
        Code::KafkaStorageError => ("kafka_storage_error", Passing),
        Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator => {
            ("coordinator_load_in_progress", Passing)
        }
        Code::ThrottlingQuotaExceeded => ("throttling_quota_exceeded", Passing),
        Code::OutOfOrderSequenceNumber => ("out_of_order_sequence_number", Passing),
        Code::UnknownProducerId => ("unknown_producer_id", Passing),
        Code::InvalidProducerEpoch | Code::ProducerFenced | Code::Fenced => {
            ("invalid_producer_epoch", Passing)
        }
        Code::Fatal | Code::GaplessGuarantee | Code::PurgeQueue | Code::PurgeInflight => {
            ("kafka_error", Consequence)
        }
        // Whatever else a broker may say one day: the detail has its text.
        _ => ("kafka_error", Passing),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaRespErr;

    use super::*;
    use crate::sink::FAILURE_REASONS;

    #[test]
    fn every_error_has_a_listed_word_and_a_side() {
        for (code, expected) in [
            (
                Code::Authentication,
                ("authentication_failure", Side::Refusal),
            ),
            (Code::UnknownTopic, ("unknown_topic", Side::Refusal)),
            (
                Code::UnknownTopicOrPartition,
                ("unknown_topic_or_partition", Side::Refusal),
            ),
            (
                Code::TopicAuthorizationFailed,
                ("topic_authorization_failed", Side::Refusal),
            ),
            (
                Code::BrokerTransportFailure,
                ("broker_transport_failure", Side::Passing),
            ),
            (
                Code::BrokerDestroy,
                ("broker_handle_destroyed", Side::Passing),
            ),
            (Code::MessageTimedOut, ("message_timed_out", Side::Passing)),
            (Code::OperationTimedOut, ("timed_out", Side::Passing)),
            (
                Code::MessageSizeTooLarge,
                ("message_size_too_large", Side::TooLarge),
            ),
            (Code::PurgeQueue, ("kafka_error", Side::Consequence)),
            (Code::GroupIdNotFound, ("kafka_error", Side::Passing)),
        ] {
            assert_eq!(judge(code), expected, "{code:?}");
        }
    }

    #[test]
    fn every_word_is_one_a_sink_may_use() {
        let codes = (-200..200).filter_map(|code| RDKafkaRespErr::try_from(code).ok());
        for code in codes {
            let (word, _) = judge(code.into());
            assert!(FAILURE_REASONS.contains(&word), "{word}");
        }
    }
}
