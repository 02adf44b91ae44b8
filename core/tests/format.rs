//! The bytes on disk are those that `docs/format.md` describes: a second implementation, written from the page,
//! reads what the crate writes and writes what the crate reads.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::format::{self, Header, Kind};
use common::*;
use unistream::*;

fn options(max_records: u64) -> Options {
    let mut options = Options::default();
    options.max_records = max_records;
    options.segment_bytes = 64 << 10;
    options.durability = Durability::Os;
    options.linger = NEVER;
    options
}

/// The newest state in the cursor's files.
fn cursor(dir: &Path) -> format::Cursor {
    let files = (0..4).map(|which| fs::read(dir.join(format!("cursor.{which}"))).unwrap());
    files.filter_map(|bytes| format::cursor(&bytes)).max_by_key(|cursor| cursor.generation).unwrap()
}

#[test]
fn the_page_describes_what_the_crate_writes() {
    for storage in [Storage::Auto, Storage::File] {
        let dir = scratch();
        let mut options = options(3);
        options.storage = storage;
        let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
        let mut put = Vec::new();
        for number in 0..400u64 {
            let (id, key, data) = (format!("id {number}"), number.to_le_bytes(), payload(number, 900));
            let mut record = NewRecord::new(&data).created_at(-(number as i64));
            record.id = (number % 2 == 0).then_some(&id);
            record.key = (number % 3 == 0).then_some(&key[..]);
            let headers = [("number", &key[..]), ("none", b""), ("number", b"again")];
            if number % 5 == 1 {
                record = record.topic("a/topic").headers(&headers[..number as usize % 4]);
            }
            record.expires_at = (number % 7 == 3).then_some(-(number as i64));
            let attributes = (
                record.topic.map(str::to_owned),
                record.expires_at,
                record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            );
            assert_eq!(buffer.put(record).unwrap(), number + 1);
            let (id, key) = (record.id.map(|id| id.as_bytes().to_vec()), record.key.map(<[u8]>::to_vec));
            put.push((number + 1, record.created_at.unwrap(), id, key, attributes, data));
        }
        buffer.close().unwrap();
        let files = segments(dir.path());
        let (mut found, mut seals, mut records, mut bytes, mut sealed) = (Vec::new(), Vec::new(), 0, 0, None);
        for (index, path) in (1u64..).zip(&files) {
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{index:016x}.seg"));
            let file = fs::read(path).unwrap();
            let header = format::header(&file).unwrap();
            assert_eq!(file[..512], file[512..1024], "two copies");
            assert_eq!((header.version, header.flags, header.index, header.length), (1, 1, index, file.len() as u64));
            assert_eq!(header.salt, format::salt(header.buffer_id, index));
            let open = records - seals.len() as u64 * 3;
            assert_eq!((header.epoch, header.next_seq, header.records_before), (0, records + 1, records));
            assert_eq!((header.bytes_before, header.open_records), (bytes, open));
            assert!(open == 0 || header.open_first_seq == records - open + 1);
            assert!(sealed.is_none() || sealed == Some(header.sealed), "where the last seal ended");
            let frames = format::frames(&file);
            for frame in &frames {
                match frame.kind {
                    Kind::Record => {
                        records += 1;
                        bytes += frame.data.len() as u64;
                        let frame = frame.clone();
                        let attributes = format::attributes(&frame.attributes);
                        found.push((frame.seq, frame.created_at, frame.id, frame.key, attributes, frame.data));
                    }
                    Kind::Seal => {
                        let word = |at| format::u64_at(&frame.data, at);
                        assert_eq!((frame.data.len(), frame.seq, word(8)), (32, records, records));
                        assert_eq!((word(0), format::u32_at(&frame.data, 16)), (records - 2, 3));
                        assert_eq!((format::u32_at(&frame.data, 20), word(24)), (0, 0), "epoch, zeros");
                        seals.push(word(0));
                        sealed = Some([index, frame.end() as u64, records + 1, records, bytes]);
                    }
                    Kind::End => assert_eq!((frame.seq, frame.data.len()), (records + 1, 0)),
                }
            }
            let ended = frames.last().unwrap().kind == Kind::End;
            assert_eq!(ended, index < files.len() as u64, "every segment but the last has an end");
        }
        assert!(files.len() > 2);
        assert_eq!(found, put);
        assert_eq!(seals.len(), 133);
        let cursor = cursor(dir.path());
        assert_eq!((cursor.epoch, cursor.closed), (0, 2));
        assert!(cursor.seq_limit > 1 << 31, "under os a power loss may bring this state back after a later run");
        assert_eq!(cursor.committed, [1, 1024, 1, 0, 0]);
        let last = format::frames(&fs::read(files.last().unwrap()).unwrap()).last().unwrap().end() as u64;
        assert_eq!(cursor.end, [files.len() as u64, last, records + 1, records, bytes]);
        assert!(cursor.boot_id != 0 && cursor.batches.is_empty());
    }
}

#[test]
fn the_page_describes_the_cursor() {
    let dir = scratch();
    let builder = || {
        let waits = vec![Duration::from_secs(50)];
        Producer::builder(dir.path()).options(options(70)).schedule_waits(waits).jitter(Jitter::None)
    };
    let producer = builder().open_manual(Limits::default()).unwrap();
    for number in 0..200 {
        producer.put(&number.to_string()).unwrap();
    }
    let batch = producer.next_batch().unwrap().unwrap();
    producer.settle(batch, Ok(Report::delivered())).unwrap();
    let batch = producer.next_batch().unwrap().unwrap();
    let report = Report::delivered().failed(0, "first").failed(65, "second");
    producer.settle(batch, Ok(report)).unwrap();
    let live = cursor(dir.path());
    assert_eq!((live.closed, live.epoch, live.end), (0, 0, [0; 5]));
    assert!(live.seq_limit > 1 << 31, "far ahead while it is open");
    let [segment, offset, seq, records, bytes] = live.committed;
    assert_eq!((segment, seq, records, bytes), (1, 71, 70, (0..70).map(|n: u64| n.to_string().len() as u64).sum()));
    let file = fs::read(&segments(dir.path())[0]).unwrap();
    let first_seal = format::frames(&file).into_iter().find(|frame| frame.kind == Kind::Seal).unwrap();
    assert_eq!(offset, first_seal.end() as u64);
    let [batch] = &live.batches[..] else { panic!("{:?}", live.batches) };
    assert_eq!((batch.first_seq, batch.attempts, batch.failures), (71, 1, 1));
    assert_eq!(batch.done, [!1, 0b11_1101], "all of 70 but the first and the 66th");
    assert_eq!((&batch.errors[..], batch.ends_before), (&["first".to_string()][..], 0));
    assert!(batch.times[0] > 0 && batch.times[0] == batch.times[1] && batch.times[2] == batch.times[1] + 50_000_000);
    producer.close(Duration::ZERO).unwrap();
    assert_eq!(cursor(dir.path()).closed, 2, "in order, under os");
    let durable = builder().durability(Durability::Interval).open_manual(Limits::default()).unwrap();
    durable.close(Duration::ZERO).unwrap();
    let closed = cursor(dir.path());
    assert_eq!((closed.closed, closed.seq_limit, closed.generation > live.generation), (1, 201, true));
    // The generations stand in different files.
    assert!(fs::read_dir(dir.path()).unwrap().count() >= 6);
}

/// Parts of batches: the lanes of their records, their ids, and what the cursor remembers of them.
#[test]
fn the_page_describes_lanes() {
    const LANES: u32 = 5;
    let dir = scratch();
    let builder = || {
        let waits = vec![Duration::from_secs(50)];
        let builder = Producer::builder(dir.path()).options(options(20)).schedule_waits(waits).jitter(Jitter::None);
        builder.order(Order::Key).max_in_flight(u64::from(LANES))
    };
    let producer = builder().open_manual(Limits::default()).unwrap();
    let key = |number: u64| (!number.is_multiple_of(4)).then(|| format!("key {}", number % 7));
    for number in 1..=200 {
        let key = key(number);
        producer.put(NewRecord { key: key.as_ref().map(|key| key.as_bytes()), ..NewRecord::new(b"data") }).unwrap();
    }
    producer.begin_flush().unwrap();
    let lane_of = |seq| format::lane(key(seq).as_ref().map(|key| key.as_bytes()), seq, LANES);
    let frames: Vec<_> =
        segments(dir.path()).iter().flat_map(|path| format::frames(&fs::read(path).unwrap())).collect();
    let seals: Vec<_> = frames.iter().filter(|frame| frame.kind == Kind::Seal).collect();
    for seal in &seals {
        assert_eq!((format::u32_at(&seal.data, 24), format::u32_at(&seal.data, 28)), (LANES, 0));
    }
    // A batch ends when one of its lanes is full, or by the flush.
    let mut ends = seals.iter().map(|seal| format::u64_at(&seal.data, 8));
    let first_end = ends.next().unwrap();
    let most = (0..LANES).map(|lane| (1..=first_end).filter(|seq| lane_of(*seq) == lane).count()).max();
    assert_eq!((most, lane_of(first_end), ends.next_back()), (Some(20), lane_of(first_end), Some(200)));

    let parts: Vec<_> = (0..LANES).map(|_| producer.next_batch().unwrap().unwrap()).collect();
    assert!(producer.next_batch().unwrap().is_none(), "each lane has one part under way");
    let buffer_id = cursor(dir.path()).buffer_id;
    for (lane, part) in (0..).zip(&parts) {
        assert_eq!(part.id(), format!("{buffer_id:016x}-0-1-{lane}"));
        let seqs: Vec<u64> = part.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=first_end).filter(|seq| lane_of(*seq) == lane).collect::<Vec<_>>());
    }
    let finished: usize = [1, 3].map(|lane: usize| parts[lane].len()).iter().sum();
    let second = parts[2].get(0).unwrap().seq;
    for (lane, part) in (0..).zip(parts) {
        let report = match lane {
            1 | 3 => Report::delivered(),
            2 => (1..part.len()).fold(Report::delivered(), |report, at| report.failed(at, "two")),
            _ => (0..part.len()).fold(Report::delivered(), |report, at| report.failed(at, "all")),
        };
        producer.settle(part, Ok(report)).unwrap();
    }
    // Lanes 1 and 3 go on; the others wait.
    let ids: Vec<String> = std::iter::from_fn(|| producer.next_batch().unwrap()).map(|part| part.id()).collect();
    let second_batch = first_end + 1;
    assert_eq!(ids, [1, 3].map(|lane| format!("{buffer_id:016x}-0-{second_batch}-{lane}")));

    let live = cursor(dir.path());
    let [batch] = &live.batches[..] else { panic!("{:?}", live.batches) };
    assert_eq!((live.lanes, batch.first_seq, batch.lanes, batch.lane), (LANES, 1, LANES, 0));
    assert_eq!((batch.finished_lanes, batch.finished_records), (0b1010, finished as u64));
    assert_eq!((batch.attempts, &batch.errors[..]), (1, &["all".to_string()][..]));
    let done: Vec<u64> = (0..200)
        .filter(|place| batch.done.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1))
        .map(|place| place as u64 + 1)
        .collect();
    assert_eq!(done, [second]);
    let further: Vec<_> = batch
        .further
        .iter()
        .map(|(lane, attempts, failures, times, errors)| {
            assert!(times[0] > 0 && times[0] == times[1] && times[2] == times[1] + 50_000_000);
            (*lane, *attempts, *failures, errors[0].as_str())
        })
        .collect();
    assert_eq!(further, [(2, 1, 1, "two"), (4, 1, 1, "all")]);
    assert_eq!(producer.stats().pending_records, 200 - finished as u64 - 1);
    drop(producer);

    // The same parts in another run, whatever its options are.
    let total = builder().order(Order::Total).max_in_flight(1).open_manual(Limits::default()).unwrap();
    assert_eq!(total.stats().pending_records, 200 - finished as u64 - 1);
    assert!(total.next_batch().unwrap().is_none() && total.next_wait().unwrap() > Duration::from_secs(40));
    total.resume().unwrap();
    let part = total.next_batch().unwrap().unwrap();
    assert_eq!((part.id(), part.attempt()), (format!("{buffer_id:016x}-0-1-0"), 2));
    assert!(total.next_batch().unwrap().is_none(), "one at a time");
}

/// The other direction: a directory of which the crate has not written a byte, as early builds wrote it and as this one does.
#[test]
fn the_crate_reads_what_the_page_describes() {
    for flags in [0, 1] {
        reads_what_the_page_describes(flags);
    }
}

fn reads_what_the_page_describes(flags: u32) {
    let dir = scratch();
    let (buffer_id, index) = (0x0123_4567_89ab_cdef, 7);
    let salt = format::salt(buffer_id, index);
    let header = Header {
        version: 1,
        flags,
        index,
        length: 65536,
        buffer_id,
        salt,
        epoch: 4,
        next_seq: 1000,
        records_before: 999,
        bytes_before: 5000,
        open_first_seq: 0,
        open_records: 0,
        open_bytes: 0,
        sealed: [index, 1024, 1000, 999, 5000],
        durable_before: 0,
    };
    let mut file = format::encode_header(&header);
    file.extend(format::encode_frame(1, 1000, 5, None, None, b"plain", salt));
    let attributes = match flags {
        0 => Default::default(),
        _ => (Some("topic".into()), Some(9), vec![("name".into(), b"value".to_vec()), ("none".into(), Vec::new())]),
    };
    let encoded = if flags == 0 { Vec::new() } else { format::encode_attributes(&attributes) };
    file.extend(format::encode_full_frame(1, 1001, -6, Some(b"own id"), Some(b"key"), &encoded, b"with all", salt));
    let mut seal = Vec::new();
    [1000u64, 1001].iter().for_each(|seq| seal.extend(seq.to_le_bytes()));
    [2u32, 4, 0, 0].iter().for_each(|word| seal.extend(word.to_le_bytes()));
    file.extend(format::encode_frame(2, 1001, 7, None, None, &seal, salt));
    file.extend(format::encode_frame(1, 1002, 8, None, Some(b""), b"", salt));
    file.resize(65536, 0);
    fs::write(dir.path().join("0000000000000007.seg"), &file).unwrap();
    let drained = drain(dir.path());
    let ids: Vec<&str> = drained.batches.iter().map(|batch| batch.id.as_str()).collect();
    assert_eq!(ids[0], "0123456789abcdef-4-1000");
    let record = |seq: u64, id: &str, key: Option<&[u8]>, created_at, attributes, data: &[u8]| SeenRecord {
        seq,
        attributes,
        id: id.into(),
        key: key.map(<[u8]>::to_vec),
        created_at,
        data: data.to_vec(),
    };
    let expected = [
        record(1000, "0123456789abcdef-1000", None, 5, Default::default(), b"plain"),
        record(1001, "own id", Some(b"key"), -6, attributes, b"with all"),
        record(1002, "0123456789abcdef-1002", Some(b""), 8, Default::default(), b""),
    ];
    assert_eq!(drained.records(), expected);
    assert_eq!(drained.stats.lost_records, 0);
}

/// A segment of an early build takes records with attributes in the next one: that build would pass over them, and refuses the
/// log instead.
#[test]
fn a_log_of_an_early_build_is_gone_on_with() {
    let dir = scratch();
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/format-1/whole/buffer"), dir.path());
    let headers = || {
        let files = segments(dir.path()).into_iter().map(|path| fs::read(path).unwrap());
        files.map(|file| (format::header(&file).unwrap(), format::frames(&file))).collect::<Vec<_>>()
    };
    let early = headers();
    assert!(early.iter().all(|(header, _)| header.flags == 0));
    let buffer = Buffer::open(dir.path(), options(70), Limits::default()).unwrap();
    let plain = buffer.put(NewRecord::new(b"plain")).unwrap();
    let name = [("name", &b"value"[..])];
    let seq = buffer.put(NewRecord::new(b"new").topic("topic").headers(&name).expires_at(1)).unwrap();
    assert_eq!(buffer.put(b"behind").unwrap(), seq + 1);
    buffer.close().unwrap();
    let now = headers();
    let at = |seq: u64| {
        let has = |(_, frames): &(Header, Vec<format::Frame>)| {
            frames.iter().any(|frame| frame.kind == Kind::Record && frame.seq == seq)
        };
        now.iter().position(has).unwrap()
    };
    assert_eq!((at(plain), at(seq), at(seq + 1)), (early.len() - 1, early.len(), early.len()));
    assert_eq!(now.iter().map(|(header, _)| header.flags).sum::<u32>(), 1, "what is there stays as it was");
    let drained = drain(dir.path());
    let found = drained.records().into_iter().find(|record| record.seq == seq).unwrap();
    let expected = (Some("topic".into()), Some(1), vec![("name".into(), b"value".to_vec())]);
    assert_eq!((found.attributes, drained.stats.lost_records), (expected, 0));
}

/// A segment that was used before holds old frames behind the new ones; the salt tells them apart.
#[test]
fn recycled_segments_give_no_old_record() {
    let dir = scratch();
    let builder = || Producer::builder(dir.path()).options(options(10));
    let producer = builder().open_manual(Limits::default()).unwrap();
    let mut put = 0;
    // Frames of one length, so that old ones stand exactly where new ones end.
    let fill = |count: u64, put: &mut u64| {
        for _ in 0..count {
            *put = producer.put(&[b'x'; 1000]).unwrap();
        }
    };
    fill(600, &mut put);
    assert_eq!(take_all(&producer).iter().map(|batch| batch.records.len()).sum::<usize>(), 600);
    let (mut used_before, mut first) = (0, 601);
    // At least a few rounds; more where the log's thread was slow and unlinked what it might have kept.
    for round in 0..600 {
        if round >= 12 && used_before > 0 {
            break;
        }
        if round > 0 && round % 12 == 0 {
            take_all(&producer);
            first = put + 1;
        }
        fill(25, &mut put);
        // A crash now.
        let image = scratch();
        copy_dir(dir.path(), image.path());
        used_before += segments(image.path()).iter().filter(|path| holds_older_frames(path)).count();
        let drained = drain(image.path());
        assert_eq!(drained.seqs(), (first..=put).collect::<Vec<_>>());
        assert_eq!(drained.stats.corrupt_regions, 0, "{:?}", drained.events.messages("corrupt"));
    }
    assert!(used_before > 0, "no segment was used again, so this test tests nothing");
}

/// Whether behind the frames of a segment stand some of an earlier use.
/// Whoever still has a batch that is committed has its bytes, however often its segment would be used again.
#[test]
fn a_batch_in_somebodys_hands_is_not_written_over() {
    for storage in [Storage::Auto, Storage::File] {
        let dir = scratch();
        let mut options = Options::default();
        options.segment_bytes = 64 << 10;
        options.max_records = 2;
        options.storage = storage;
        let buffer = Buffer::open(dir.path(), options, Limits::default()).unwrap();
        let mut held = Vec::new();
        for number in 0..40u8 {
            buffer.put(&[number; 15_000]).unwrap();
            while let Some(batch) = buffer.emit().unwrap() {
                buffer.commit(&batch).unwrap();
                held.push((SeenBatch::of(&batch), batch));
            }
        }
        assert_eq!(held.len(), 20);
        for (seen, batch) in &held {
            assert_eq!(SeenBatch::of(batch), *seen);
        }
    }
}

fn holds_older_frames(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let Some(header) = format::header(&bytes) else { return false };
    // All frames of the test are of one length.
    let places = (1024..bytes.len() - 1032).step_by(8).filter(|at| format::u32_at(&bytes, at + 4) == 1032);
    let places: Vec<usize> = places.collect();
    let salts = (1..header.index).map(|index| format::salt(header.buffer_id, index));
    salts.into_iter().any(|salt| places.iter().any(|at| format::frame(&bytes, *at, salt).is_some()))
}

#[test]
fn the_page_describes_dead_letters_and_the_sidecar() {
    let dir = scratch();
    let producer = Producer::builder(dir.path()).options(options(2)).max_attempts(1).open(failing()).unwrap();
    producer.put(NewRecord::new(b"one").id("i").created_at(1)).unwrap();
    producer.put(NewRecord::new(b"two").key(b"k").created_at(2)).unwrap();
    producer.put(NewRecord::new(b"three").created_at(3).topic("t").expires_at(4)).unwrap();
    producer.flush(LONG).unwrap();
    // The batch of two has no attributes, and its records' file no flag that an early build would not know.
    let other = producer.dead_letters().list().unwrap().remove(1);
    let records = fs::read(dir.path().join(format!("dead-letters/{}.0.records", other.id))).unwrap();
    let mut expected = b"unidead\n".to_vec();
    [1u32, 1].iter().for_each(|word| expected.extend(word.to_le_bytes()));
    let attributes = format::encode_attributes(&(Some("t".into()), Some(4), Vec::new()));
    expected.extend(format::encode_full_frame(1, 3, 3, None, None, &attributes, b"three", 0));
    assert_eq!(records, expected);
    let letter = producer.dead_letters().list().unwrap().remove(0);
    let folder = dir.path().join("dead-letters");
    let records = fs::read(folder.join(format!("{}.0.records", letter.id))).unwrap();
    let mut expected = b"unidead\n".to_vec();
    [1u32, 0].iter().for_each(|word| expected.extend(word.to_le_bytes()));
    expected.extend(format::encode_frame(1, 1, 1, Some(b"i"), None, b"one", 0));
    expected.extend(format::encode_frame(1, 2, 2, None, Some(b"k"), b"two", 0));
    assert_eq!(records, expected);

    let path = dir.path().join("out.log");
    let sink = FileSink::create(&path).unwrap();
    let batch = letter.batch().unwrap();
    sink.send(&batch).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    let sidecar = || fs::read(dir.path().join("out.log.unistream")).unwrap();
    let of = fs::metadata(&path).unwrap();
    let buffer_id = u64::from_str_radix(&letter.id[..16], 16).unwrap();
    let print = |seq: u64, created_at: i64, id: (u32, &[u8]), key: (u32, &[u8]), data: &[u8]| {
        let upper = format::crc32c(&[&buffer_id.to_le_bytes(), &seq.to_le_bytes()]);
        let lengths = [id.0.to_le_bytes(), key.0.to_le_bytes()].concat();
        let lower = format::crc32c(&[&created_at.to_le_bytes(), &lengths, id.1, key.1, data]);
        u64::from(upper) << 32 | u64::from(lower)
    };
    let prints = [print(1, 1, (2, b"i"), (0, b""), b"one"), print(2, 2, (0, b""), (2, b"k"), b"two")];
    let mut body = Vec::new();
    [1, prints[0], 2, prints[1]].iter().for_each(|word| body.extend(word.to_le_bytes()));
    body.extend(b"one\ntwo\n");
    let mut area = b"unimark3".to_vec();
    [1u64, of.dev(), of.ino(), 0, 8].iter().for_each(|word| area.extend(word.to_le_bytes()));
    let words = [format::crc32c(&[b"one\ntwo\n"]), 0, 2, 8, format::crc32c(&[&body])];
    words.iter().for_each(|word| area.extend(word.to_le_bytes()));
    area.resize(72, 0);
    area.extend(buffer_id.to_le_bytes());
    area.resize(508, 0);
    let crc = format::crc32c(&[&area]);
    area.extend(crc.to_le_bytes());
    area.extend(body);
    assert_eq!(sidecar()[1_081_856..][..area.len()], area, "an odd generation stands in the second area");
    // With the next piece they are remembered.
    sink.send(&Batch::from_records([NewRecord::new(b"three")])).unwrap();
    let bytes: Vec<u8> = prints.iter().flat_map(|print| print.to_le_bytes()).collect();
    assert_eq!(sidecar()[2_163_712 + 8..][..bytes.len()], bytes);
    let mut tag: Vec<u8> = [buffer_id, 0, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    let crc = format::crc32c(&[&tag]);
    tag.extend(crc.to_le_bytes());
    tag.extend([0; 4]);
    assert_eq!(sidecar()[10_552_320..], tag);
}
