//! Brokers of a stand-in cluster on loopback. They speak Kafka's protocol as its documentation has it, take batches that are
//! as they should be by Kafka's rules for numbers, and do wrong what a script says.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::web::Listening;

/// What goes wrong with one request to produce.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Not taken; answered with this code.
    Code(i16),
    /// Not taken; answered with this code by version 8, which has words.
    Words(i16, &'static str),
    /// Taken; then the connection is closed without an answer.
    CutAfter,
    /// Closed without being taken.
    CutBefore,
    /// Taken; this is sent in place of an answer's bytes behind its length and number.
    Body(Vec<u8>),
    /// Taken; these bytes are sent in place of an answer.
    Raw(Vec<u8>),
    /// Taken, and never answered.
    Silence,
    /// Taken by another that does not lead: as `NOT_LEADER_OR_FOLLOWER`, and then node `0` leads.
    Moved(usize),
}

/// A batch of Kafka's that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) count: i32,
    pub(crate) values: Vec<String>,
}

pub(crate) struct State {
    pub(crate) cluster: &'static str,
    /// How many partitions a topic has.
    pub(crate) topics: HashMap<String, i32>,
    /// The node that leads all partitions.
    pub(crate) leader: usize,
    ports: Vec<u16>,
    script: VecDeque<Fault>,
    /// The producer id that was given last.
    pub(crate) last_producer: i64,
    /// Requests to produce, as they came, whatever became of them.
    pub(crate) asked: Vec<Taken>,
    pub(crate) taken: Vec<Taken>,
    /// What is known of a producer in a partition: its epoch, and the numbers of its last five batches.
    known: HashMap<(String, i32, i64), (i16, VecDeque<(i32, i32)>)>,
    /// The most bytes of a batch.
    pub(crate) most: usize,
    /// The versions of `Produce`.
    pub(crate) produce: (i16, i16),
    /// What asking for a producer id is answered with.
    pub(crate) producer_code: i16,
}

pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    nodes: Vec<Listening>,
}

impl Cluster {
    pub(crate) fn start(nodes: usize, topics: &[(&str, i32)]) -> Self {
        let state = State {
            cluster: "stand-in",
            topics: topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            leader: 0,
            ports: Vec::new(),
            script: VecDeque::new(),
            last_producer: 1000,
            asked: Vec::new(),
            taken: Vec::new(),
            known: HashMap::new(),
            most: usize::MAX,
            produce: (0, 8),
            producer_code: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let serve_one = |node: usize| {
            let state = state.clone();
            Listening::start(move |stream| {
                // An error is the client's way to go away.
                let _ = serve(&state, node, stream);
            })
        };
        let nodes: Vec<_> = (0..nodes).map(serve_one).collect();
        state.lock().unwrap().ports = nodes.iter().map(|node| node.address().port()).collect();
        Cluster { state, nodes }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn brokers(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.address().port())).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().script.extend(faults);
    }

    /// What the log of a topic has, partition by partition.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        let state = self.state();
        state.taken.iter().filter(|taken| taken.topic == topic).flat_map(|taken| taken.values.clone()).collect()
    }
}

impl State {
    /// What is still to go wrong.
    pub(crate) fn script(&mut self) -> &mut VecDeque<Fault> {
        &mut self.script
    }
}

fn serve(state: &Mutex<State>, node: usize, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; i32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request)?;
        let mut reader = Reading(&request);
        let (api, version, number) = (reader.i16(), reader.i16(), reader.i32());
        assert_eq!(reader.text(), "unistream");
        let mut answer = Vec::new();
        let mut fault = Fault::None;
        match api {
            0 => {
                fault = state.lock().unwrap().script.pop_front().unwrap_or(Fault::None);
                if matches!(fault, Fault::CutBefore) {
                    return Ok(());
                }
                produce(&mut state.lock().unwrap(), node, &fault, version, &mut reader, &mut answer);
            }
            3 => metadata(&state.lock().unwrap(), version, &mut reader, &mut answer),
            18 => versions(state.lock().unwrap().produce, &mut answer),
            22 => {
                let mut state = state.lock().unwrap();
                state.last_producer += 1;
                answer.extend(0i32.to_be_bytes());
                answer.extend(state.producer_code.to_be_bytes());
                answer.extend(state.last_producer.to_be_bytes());
                answer.extend(0i16.to_be_bytes());
            }
            api => panic!("request {api}"),
        }
        match fault {
            Fault::CutAfter => return Ok(()),
            Fault::Silence => {
                // Until the client goes away.
                let _ = stream.read(&mut [0]);
                return Ok(());
            }
            Fault::Raw(bytes) => {
                stream.write_all(&bytes)?;
                thread::sleep(Duration::from_millis(50));
                return Ok(());
            }
            Fault::Body(body) => answer = body,
            _ => {}
        }
        stream.write_all(&(answer.len() as i32 + 4).to_be_bytes())?;
        stream.write_all(&number.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

fn versions(produce: (i16, i16), answer: &mut Vec<u8>) {
    answer.extend(0i16.to_be_bytes());
    answer.extend(4i32.to_be_bytes());
    for (api, least, most) in [(0, produce.0, produce.1), (3i16, 0i16, 12i16), (18, 0, 3), (22, 0, 4)] {
        [api, least, most].iter().for_each(|value| answer.extend(value.to_be_bytes()));
    }
}

fn put_text(answer: &mut Vec<u8>, text: &str) {
    answer.extend((text.len() as i16).to_be_bytes());
    answer.extend(text.as_bytes());
}

fn metadata(state: &State, version: i16, reader: &mut Reading<'_>, answer: &mut Vec<u8>) {
    assert_eq!(version, 7);
    answer.extend(0i32.to_be_bytes());
    answer.extend((state.ports.len() as i32).to_be_bytes());
    for (node, port) in state.ports.iter().enumerate() {
        answer.extend((node as i32).to_be_bytes());
        put_text(answer, "127.0.0.1");
        answer.extend(i32::from(*port).to_be_bytes());
        answer.extend((-1i16).to_be_bytes());
    }
    put_text(answer, state.cluster);
    answer.extend(0i32.to_be_bytes());
    let count = reader.i32();
    answer.extend(count.to_be_bytes());
    for _ in 0..count {
        let topic = reader.text();
        let partitions = state.topics.get(topic).copied();
        answer.extend(if partitions.is_some() { 0i16 } else { 3 }.to_be_bytes());
        put_text(answer, topic);
        answer.push(0);
        answer.extend(partitions.unwrap_or(0).to_be_bytes());
        for partition in 0..partitions.unwrap_or(0) {
            answer.extend(0i16.to_be_bytes());
            answer.extend(partition.to_be_bytes());
            answer.extend((state.leader as i32).to_be_bytes());
            answer.extend(0i32.to_be_bytes());
            (0..3).for_each(|_| answer.extend(0i32.to_be_bytes()));
        }
    }
}

fn produce(
    state: &mut State,
    node: usize,
    fault: &Fault,
    version: i16,
    reader: &mut Reading<'_>,
    answer: &mut Vec<u8>,
) {
    assert_eq!((reader.i16(), reader.i16()), (-1, -1), "no transaction, and all replicas");
    assert!(reader.i32() > 0);
    let topics = reader.i32();
    answer.extend(topics.to_be_bytes());
    for _ in 0..topics {
        let topic = reader.text().to_owned();
        put_text(answer, &topic);
        let partitions = reader.i32();
        answer.extend(partitions.to_be_bytes());
        for _ in 0..partitions {
            let partition = reader.i32();
            let batch = reader.bytes();
            let taken = read_batch(batch, &topic, partition);
            state.asked.push(taken.clone());
            let (code, words) = match fault {
                Fault::Code(code) => (*code, None),
                Fault::Words(code, words) => (*code, Some(*words)),
                Fault::Moved(to) => {
                    state.leader = *to;
                    (6, None)
                }
                _ if state.leader != node => (6, None),
                _ if batch.len() > state.most => (10, None),
                _ => (take(state, taken), None),
            };
            answer.extend(partition.to_be_bytes());
            answer.extend(code.to_be_bytes());
            (0..3).for_each(|_| answer.extend((-1i64).to_be_bytes()));
            if version >= 8 {
                answer.extend(0i32.to_be_bytes());
                match words {
                    Some(words) => put_text(answer, words),
                    None => answer.extend((-1i16).to_be_bytes()),
                }
            }
        }
    }
    answer.extend(0i32.to_be_bytes());
}

/// Takes a batch by Kafka's rules; the code of its answer.
fn take(state: &mut State, taken: Taken) -> i16 {
    if taken.partition >= *state.topics.get(&taken.topic).unwrap_or(&0) {
        return 3;
    }
    if taken.producer >= 0 {
        let range = (taken.first, taken.first + taken.count - 1);
        let key = (taken.topic.clone(), taken.partition, taken.producer);
        let (epoch, last) = state.known.entry(key).or_insert((taken.epoch, VecDeque::new()));
        if taken.epoch < *epoch {
            return 47;
        }
        if taken.epoch > *epoch {
            if taken.first != 0 {
                return 45;
            }
            (*epoch, *last) = (taken.epoch, VecDeque::new());
        }
        if last.contains(&range) {
            return 0;
        }
        if last.back().is_some_and(|(_, last)| last + 1 != taken.first) {
            return 45;
        }
        last.push_back(range);
        if last.len() > 5 {
            last.pop_front();
        }
    }
    state.taken.push(taken);
    0
}

fn read_batch(bytes: &[u8], topic: &str, partition: i32) -> Taken {
    let mut reader = Reading(bytes);
    assert_eq!((reader.i64(), reader.i32() as usize), (0, bytes.len() - 12));
    assert_eq!((reader.i32(), reader.i8()), (-1, 2));
    let sum = reader.i32().cast_unsigned();
    assert_eq!(crc32c::crc32c(reader.0), sum, "the checksum");
    assert_eq!(reader.i16(), 0, "not compressed");
    let last = reader.i32();
    let (first_time, last_time) = (reader.i64(), reader.i64());
    assert!(first_time <= last_time);
    let (producer, epoch, first, count) = (reader.i64(), reader.i16(), reader.i32(), reader.i32());
    assert_eq!(last, count - 1);
    assert_eq!(producer < 0, first < 0);
    let values = (0..count).map(|place| {
        let len = reader.varint();
        let left = reader.0.len();
        assert_eq!(reader.i8(), 0);
        let _time = reader.varint();
        assert_eq!(reader.varint(), i64::from(place));
        let key = reader.varint();
        reader.take(key.max(0) as usize);
        let value = reader.varint();
        let value = String::from_utf8(reader.take(value as usize).to_vec()).unwrap();
        for _ in 0..reader.varint() {
            for _name_and_value in 0..2 {
                let len = reader.varint();
                reader.take(len as usize);
            }
        }
        assert_eq!((left - reader.0.len()) as i64, len);
        value
    });
    let values = values.collect();
    assert!(reader.0.is_empty());
    Taken { topic: topic.to_owned(), partition, producer, epoch, first, count, values }
}

struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
    fn i8(&mut self) -> i8 {
        self.take(1)[0].cast_signed()
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }
    fn text(&mut self) -> &'a str {
        let len = self.i16();
        std::str::from_utf8(self.take(len as usize)).unwrap()
    }
    fn bytes(&mut self) -> &'a [u8] {
        let len = self.i32();
        self.take(len as usize)
    }
    fn varint(&mut self) -> i64 {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            }
            shift += 7;
        }
    }
}
