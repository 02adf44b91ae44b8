//! The requests that we send, and what we read of their answers. Of each kind we speak the versions before the "flexible"
//! ones, which all brokers since Kafka 1.0 take; the newest of them that the broker has.

use std::collections::HashMap;
use std::sync::Arc;

use super::wire::{Malformed, Reader, Write};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: &'static str,
    /// The versions that we speak.
    oldest: i16,
    newest: i16,
}

pub(super) const PRODUCE: Api = Api { key: 0, name: "Produce", oldest: 5, newest: 8 };
pub(super) const METADATA: Api = Api { key: 3, name: "Metadata", oldest: 5, newest: 7 };
pub(super) const SASL_HANDSHAKE: Api = Api { key: 17, name: "SaslHandshake", oldest: 1, newest: 1 };
pub(super) const API_VERSIONS: Api = Api { key: 18, name: "ApiVersions", oldest: 0, newest: 0 };
pub(super) const INIT_PRODUCER_ID: Api = Api { key: 22, name: "InitProducerId", oldest: 0, newest: 1 };
pub(super) const SASL_AUTHENTICATE: Api = Api { key: 36, name: "SaslAuthenticate", oldest: 0, newest: 1 };

/// The versions that a broker speaks, by the kind's key.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(HashMap<i16, (i16, i16)>);

impl Versions {
    /// The version in which to talk.
    ///
    /// # Errors
    /// There is none that both speak.
    pub(super) fn of(&self, api: Api) -> Result<i16, String> {
        let Api { key, name, oldest, newest } = api;
        match self.0.get(&key) {
            // Asked before anything is known.
            None if api == API_VERSIONS => Ok(newest),
            None => Err(format!("the broker has no {name}, which Kafka has had since 1.0")),
            Some((least, most)) if *least > newest || *most < oldest => Err(format!(
                "the broker speaks {name} in the versions {least} to {most}, and this sink in {oldest} to {newest}"
            )),
            Some((_, most)) => Ok(newest.min(*most)),
        }
    }
}

/// Begins a request: its length, which [`finish`] sets, and its header.
pub(super) fn begin(api: Api, version: i16, correlation: i32, client_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.i32(0);
    out.i16(api.key);
    out.i16(version);
    out.i32(correlation);
    out.text(client_id);
    out
}

/// Sets the length of a request that is complete.
pub(super) fn finish(request: &mut [u8]) {
    let len = request.len() as i32 - 4;
    request[..4].copy_from_slice(&len.to_be_bytes());
}

/// What the broker speaks, or the code of an error.
pub(super) fn api_versions(body: &[u8]) -> Result<Result<Versions, i16>, Malformed> {
    let mut reader = Reader::new(body);
    let code = reader.i16()?;
    let versions = reader.items(|reader| Ok((reader.i16()?, (reader.i16()?, reader.i16()?))))?;
    Ok(if code == super::codes::NONE { Ok(Versions(versions.into_iter().collect())) } else { Err(code) })
}

/// Asks who leads the partitions of topics.
pub(super) fn metadata_request(out: &mut Vec<u8>, topics: &[String], create: bool) {
    out.i32(topics.len() as i32);
    topics.iter().for_each(|topic| out.text(topic));
    out.i8(create.into());
}

/// What a broker knows of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The cluster's id.
    pub(super) cluster: Option<String>,
    /// Host and port, by node.
    pub(super) brokers: HashMap<i32, (String, u16)>,
    pub(super) topics: HashMap<String, Topic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topic {
    /// The code of an error, which is 0 if all is well.
    pub(super) code: i16,
    /// The node that leads each partition, and the code of an error where nobody does.
    pub(super) leaders: Vec<Result<i32, i16>>,
}

pub(super) fn metadata(version: i16, body: &[u8]) -> Result<Metadata, Malformed> {
    let mut reader = Reader::new(body);
    let _throttled = reader.i32()?;
    let brokers = reader.items(|reader| {
        let (node, host, port) = (reader.i32()?, reader.text()?.to_owned(), reader.i32()?);
        let _rack = reader.nullable()?;
        Ok((node, (host, u16::try_from(port).map_err(|_| Malformed)?)))
    })?;
    let (cluster, _controller) = (reader.nullable()?.map(str::to_owned), reader.i32()?);
    let topics = reader.items(|reader| {
        let (code, name, _internal) = (reader.i16()?, reader.text()?.to_owned(), reader.bool()?);
        let partitions = reader.items(|reader| {
            let (code, partition, leader) = (reader.i16()?, reader.i32()?, reader.i32()?);
            if version >= 7 {
                let _leader_epoch = reader.i32()?;
            }
            for _replicas_in_sync_offline in 0..3 {
                reader.items(Reader::i32)?;
            }
            // Whoever leads is named also where a replica is away.
            let leader = if leader >= 0 { Ok(leader) } else { Err(code) };
            Ok((usize::try_from(partition).map_err(|_| Malformed)?, leader))
        })?;
        let mut leaders = vec![Err(super::codes::NONE); partitions.len()];
        for (partition, leader) in partitions {
            *leaders.get_mut(partition).ok_or(Malformed)? = leader;
        }
        Ok((name, Topic { code, leaders }))
    })?;
    Ok(Metadata { cluster, brokers: brokers.into_iter().collect(), topics: topics.into_iter().collect() })
}

/// Asks for a producer id.
pub(super) fn init_producer_id_request(out: &mut Vec<u8>) {
    // No transactional id, and so no time-out of transactions.
    out.i16(-1);
    out.i32(i32::MAX);
}

/// The producer id with its epoch, or the code of an error.
pub(super) fn init_producer_id(body: &[u8]) -> Result<Result<(i64, i16), i16>, Malformed> {
    let mut reader = Reader::new(body);
    let _throttled = reader.i32()?;
    let (code, id, epoch) = (reader.i16()?, reader.i64()?, reader.i16()?);
    Ok(if code == super::codes::NONE { Ok((id, epoch)) } else { Err(code) })
}

/// Begins a request to produce.
pub(super) fn produce_request(out: &mut Vec<u8>, acks: i16, timeout_ms: i32, topics: usize) {
    out.i16(-1);
    out.i16(acks);
    out.i32(timeout_ms);
    out.i32(topics as i32);
}

/// What became of the records for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Produced {
    /// That of all its partitions, once in memory: an answer may name a long one with very many of them.
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) code: i16,
    pub(super) message: Option<String>,
}

pub(super) fn produced(version: i16, body: &[u8]) -> Result<Vec<Produced>, Malformed> {
    let mut reader = Reader::new(body);
    let topics = reader.items(|reader| {
        let topic: Arc<str> = reader.text()?.into();
        reader.items(|reader| {
            let (partition, code) = (reader.i32()?, reader.i16()?);
            let (_offset, _append_time, _log_start) = (reader.i64()?, reader.i64()?, reader.i64()?);
            let mut message = None;
            if version >= 8 {
                let of_records = reader.items(|reader| Ok((reader.i32()?, reader.nullable()?)))?;
                let first = of_records.into_iter().find_map(|(_, message)| message);
                message = reader.nullable()?.or(first).map(str::to_owned);
            }
            Ok(Produced { topic: topic.clone(), partition, code, message })
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

/// The code, and the mechanisms that the broker has.
pub(super) fn sasl_handshake(body: &[u8]) -> Result<(i16, Vec<String>), Malformed> {
    let mut reader = Reader::new(body);
    Ok((reader.i16()?, reader.items(|reader| reader.text().map(str::to_owned))?))
}

/// The broker's next word of an authentication.
pub(super) struct SaslAnswer {
    pub(super) code: i16,
    pub(super) message: Option<String>,
    pub(super) bytes: Vec<u8>,
    /// For how many milliseconds the connection is good; 0: for ever.
    pub(super) lifetime_ms: i64,
}

pub(super) fn sasl_authenticate(version: i16, body: &[u8]) -> Result<SaslAnswer, Malformed> {
    let mut reader = Reader::new(body);
    Ok(SaslAnswer {
        code: reader.i16()?,
        message: reader.nullable()?.map(str::to_owned),
        bytes: reader.bytes()?.to_vec(),
        lifetime_ms: if version >= 1 { reader.i64()? } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_speak() {
        let with = |least, most| Versions(HashMap::from([(PRODUCE.key, (least, most))])).of(PRODUCE);
        assert_eq!(with(0, 6), Ok(6));
        assert_eq!(with(3, 12), Ok(8));
        assert_eq!(with(8, 8), Ok(8));
        assert!(with(9, 13).unwrap_err().contains("9 to 13"));
        assert!(with(0, 4).is_err() && Versions::default().of(PRODUCE).is_err());
        assert_eq!(Versions::default().of(API_VERSIONS), Ok(0));
    }

    fn an_answer_about_metadata() -> Vec<u8> {
        let mut out = Vec::new();
        out.i32(0);
        out.i32(1);
        out.i32(7);
        out.text("host");
        out.i32(9092);
        out.i16(-1);
        out.text("cluster");
        out.i32(7);
        out.i32(1);
        out.i16(0);
        out.text("topic");
        out.i8(0);
        out.i32(2);
        for (code, partition, leader) in [(5, 1, -1), (0, 0, 7)] {
            out.i16(code);
            out.i32(partition);
            out.i32(leader);
            out.i32(3);
            for _ in 0..3 {
                out.i32(1);
                out.i32(7);
            }
        }
        out
    }

    #[test]
    fn who_leads() {
        let body = an_answer_about_metadata();
        let read = metadata(7, &body).unwrap();
        assert_eq!(read.brokers, HashMap::from([(7, ("host".to_owned(), 9092))]));
        assert_eq!(read.cluster.as_deref(), Some("cluster"));
        assert_eq!(read.topics["topic"], Topic { code: 0, leaders: vec![Ok(7), Err(5)] });
        for len in 0..body.len() {
            assert!(metadata(7, &body[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_became_of_records() {
        let mut out = Vec::new();
        out.i32(1);
        out.text("topic");
        out.i32(1);
        out.i32(3);
        out.i16(87);
        out.i64(-1);
        out.i64(-1);
        out.i64(-1);
        out.i32(1);
        out.i32(0);
        out.text("bad");
        out.i16(-1);
        out.i32(0);
        let expected = Produced { topic: "topic".into(), partition: 3, code: 87, message: Some("bad".into()) };
        assert_eq!(produced(8, &out).unwrap(), [expected]);
        assert!((0..out.len() - 4).all(|len| produced(8, &out[..len]).is_err()));
    }

    /// A long topic stands in memory once, however many of its partitions an answer speaks of.
    #[test]
    fn an_answer_takes_no_more_memory_than_it_has_bytes() {
        let (topic, partitions) = ("t".repeat(30_000), 1000);
        let mut out = Vec::new();
        out.i32(1);
        out.text(&topic);
        out.i32(partitions);
        for partition in 0..partitions {
            out.i32(partition);
            out.i16(0);
            (0..3).for_each(|_| out.i64(0));
        }
        let answers = produced(5, &out).unwrap();
        assert_eq!(answers.len(), 1000);
        assert!(answers.iter().all(|answer| Arc::ptr_eq(&answer.topic, &answers[0].topic)));
    }
}
