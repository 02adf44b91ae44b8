use std::time::*;
use unistream::*;
fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let n: usize = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(2_000_000);
    let dir = tempfile::tempdir_in("target").unwrap();
    let mut b = Producer::builder(dir.path());
    if let Ok(s) = std::env::var("SEG") {
        b = b.set("segment_bytes", &s).unwrap();
    }
    let p = if mode == "manual" {
        b.max_buffer_bytes(1 << 40).open_manual(Limits::default()).unwrap()
    } else {
        b.open(NullSink).unwrap()
    };
    let payload = [7u8; 100];
    for r in 0..5 {
        let t = Instant::now();
        for _ in 0..n {
            if mode == "stamped" {
                p.put(NewRecord::new(&payload).created_at(5)).unwrap();
            } else {
                p.put(&payload).unwrap();
            }
        }
        println!("{r} {:.1} ns", t.elapsed().as_nanos() as f64 / n as f64);
        if mode == "manual" {
            while let Some(b) = p.next_batch().unwrap() {
                p.settle(b, Ok(Report::delivered())).unwrap();
            }
        }
        p.flush(Duration::from_secs(if mode == "manual" { 0 } else { 100 })).ok();
    }
}
