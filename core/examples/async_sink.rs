//! A sink that posts batches over a socket with tokio: `cargo run -p unistream --features async --example async_sink`.
//!
//! The other side is a task of the same runtime. It answers each line with `+`, or `-` for what it never takes.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use unistream::sink::{self, AsyncSink};
use unistream::{Batch, Producer, Report, SendError};

struct Lines {
    address: std::net::SocketAddr,
}

impl AsyncSink for Lines {
    async fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        // Whoever does not answer is unavailable: tried again for as long as it takes.
        let socket = TcpStream::connect(self.address).await.map_err(SendError::unavailable)?;
        let (mut answers, mut lines) = socket.into_split();
        for record in batch.iter() {
            lines.write_all(record.data).await.map_err(SendError::unavailable)?;
            lines.write_all(b"\n").await.map_err(SendError::unavailable)?;
        }
        let mut answer = vec![0; batch.len()];
        answers.read_exact(&mut answer).await.map_err(SendError::unavailable)?;
        let refused = answer.iter().enumerate().filter(|(_, answer)| **answer != b'+');
        Ok(refused.fold(Report::delivered(), |report, (index, _)| report.rejected(index, "refused")))
    }
}

async fn answer(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut lines, mut answers) = listener.accept().await?.0.into_split();
        tokio::spawn(async move {
            let mut lines = BufReader::new(&mut lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: &[u8] = if line.is_empty() { b"-" } else { b"+" };
                if answers.write_all(answer).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(answer(listener));

    let directory = std::env::temp_dir().join(format!("unistream-example-async-{}", std::process::id()));
    let handle = runtime.handle().clone();
    let sink = sink::from_async(move |sending| handle.block_on(sending), Lines { address });
    let producer = Producer::builder(&directory).max_in_flight(4).max_records(10).open(sink)?;
    for number in 0..100 {
        producer.put(&format!("record {number}"))?;
    }
    producer.put("")?;
    producer.flush(Duration::from_secs(30))?;
    let stats = producer.stats();
    println!("{} records delivered, {} refused", stats.delivered_records, stats.rejected_records);
    producer.close(Duration::from_secs(10))?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
