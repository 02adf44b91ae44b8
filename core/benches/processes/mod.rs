//! Rows of outboxes: processes that put into one, and an outbox of many slots with a backlog.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use unistream::*;

use super::{Bench, LONG, counting, median, per_record};

/// Says to this program that it is one of the processes, and where the outbox is.
const OUTBOX: &str = "UNISTREAM_BENCH_OUTBOX";
/// Records of each process.
const PUTS: usize = 200_000;
const SLOTS: u64 = 64;
/// Records of each of those slots.
const BACKLOG: u64 = 1000;

/// One of the processes, if this is one.
pub(super) fn child() -> bool {
    let Some(outbox) = std::env::var_os(OUTBOX) else { return false };
    let (seen, sink) = counting();
    let producer = Producer::builder(&outbox).shared(true).open(sink).expect("the outbox opens");
    let payload = [0xa5u8; 100];
    // Once over, so that the segments are warm.
    (0..PUTS / 4).for_each(|_| assert!(producer.put(&payload).is_ok()));
    producer.flush(LONG).expect("flush");
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new());
    let start = Instant::now();
    (0..PUTS).for_each(|_| assert!(producer.put(&payload).is_ok()));
    let time = start.elapsed();
    producer.flush(LONG).expect("flush");
    assert_eq!(seen.load(Ordering::Relaxed), (PUTS + PUTS / 4) as u64, "every record came out");
    println!("{}", time.as_nanos());
    let _ = std::io::stdin().read_line(&mut String::new());
    producer.close(LONG).expect("close");
    true
}

struct Putting {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Putting {
    fn start(outbox: &Path) -> Putting {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(OUTBOX, outbox).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Putting { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("its input").write_all(b"\n").expect("it goes on");
    }
}

impl Bench {
    /// Processes that put into one outbox at the same time, each with its slot, beside one.
    pub(super) fn processes(&mut self) {
        let mut one = None;
        for processes in [1, 4, 16] {
            let name = format!("{processes} {} in one outbox", if processes == 1 { "process" } else { "processes" });
            if !self.wants(&name) {
                continue;
            }
            let (mut totals, mut puts) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let outbox = self.dir.join("processes");
                let _ = std::fs::remove_dir_all(&outbox);
                let mut all: Vec<Putting> = (0..processes).map(|_| Putting::start(&outbox)).collect();
                all.iter_mut().for_each(|putting| assert_eq!(putting.line(), "ready"));
                let start = Instant::now();
                all.iter_mut().for_each(Putting::go_on);
                for putting in &mut all {
                    let time: u64 = putting.line().parse().expect("its time");
                    puts.push(per_record(Duration::from_nanos(time), PUTS));
                }
                totals.push(per_record(start.elapsed(), PUTS * processes));
                all.iter_mut().for_each(Putting::go_on);
                for mut putting in all {
                    assert!(putting.child.wait().expect("it ends").success(), "it closed with nothing left");
                }
            }
            let total = median(&mut totals);
            let limit = one.map(|one| ("one process", one));
            self.row(&format!("{name}: a record put and sent, all together"), "ns", total, limit, "");
            self.row(&format!("{name}: a put, in each"), "ns", median(&mut puts), None, "");
            one = one.or(Some(total));
        }
    }

    /// Opening an outbox whose processes have all ended, and sending what is in it.
    pub(super) fn many_slots(&mut self) {
        let name = format!("open an outbox of {SLOTS} slots with a backlog");
        if !self.wants(&name) {
            return;
        }
        let open = |sink| Producer::builder(self.dir.join("slots")).shared(true).open(sink).expect("the outbox opens");
        let down =
            || -> Box<dyn Sink> { Box::new(sink::from_fn(|_: &Batch| Err::<(), _>(SendError::unavailable("down")))) };
        let dead: Vec<Producer> = (0..SLOTS).map(|_| open(down())).collect();
        for producer in &dead {
            (0..BACKLOG).for_each(|_| assert!(producer.put(&[0xa5; 100]).is_ok()));
        }
        for producer in dead {
            assert_eq!(producer.close(Duration::ZERO).expect("close"), BACKLOG);
        }
        let (seen, sink) = counting();
        let start = Instant::now();
        let producer = open(Box::new(sink));
        let opened = start.elapsed();
        producer.put("x").expect("put");
        let first = start.elapsed();
        producer.drain(LONG).expect("drain");
        let drained = start.elapsed();
        assert_eq!(seen.load(Ordering::Relaxed), SLOTS * BACKLOG + 1, "every record came out");
        producer.close(LONG).expect("close");
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        self.row(&name, "ms", milliseconds(opened), None, "at most 100 ms");
        self.row(&format!("{name}, until the first put is done"), "ms", milliseconds(first), None, "");
        self.row(&format!("{name}, until all of it is sent"), "ms", milliseconds(drained), None, "");
    }
}
