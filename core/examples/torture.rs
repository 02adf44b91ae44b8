//! `make torture`: every script is crashed at every operation of its disk, with many pictures of what a power loss
//! leaves, and again while it recovers. Prints the figures; ends with an error if anything was lost.
#![allow(clippy::print_stdout)]

use unistream::torture::{Figures, crash_everywhere};

fn main() -> Result<(), String> {
    let powers = std::env::args().nth(1).map_or(Ok(6), |text| text.parse()).map_err(|error| format!("{error}"))?;
    let Figures { operations, records, crashes, second_crashes, offers, duplicates } = crash_everywhere(1, powers, 3)?;
    println!("operations of the simulated disk  {operations}");
    println!("records accepted                  {records}");
    println!("crashes, each with a recovery     {crashes}");
    println!("crashes while recovering          {second_crashes}");
    println!("batches offered to sinks          {offers}");
    println!("records sent again, whole batches {duplicates}");
    println!("records lost                      0");
    Ok(())
}
