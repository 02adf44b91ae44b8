//! The end: every record must be accounted for.

use super::{Oracle, Put, Told};
use crate::batch::Batch;
use crate::options::OnExpired;
use crate::sink::Framing;

impl Oracle {
    /// The buffer is drained and these are the dead letters: every record must be accounted for.
    pub(crate) fn account(&mut self, letters: &[Batch]) {
        for letter in letters {
            for record in letter.iter() {
                if let Some(number) = self.recognise(&record) {
                    self.puts[number].buried = true;
                }
            }
        }
        let mut expired = 0;
        for number in 0..self.puts.len() {
            let put = &self.puts[number];
            let is_gone = put.told == Told::Accepted && !put.excused && !put.delivered && !put.buried;
            if is_gone && self.drops_expired() && self.may_have_expired(number) {
                expired += 1;
            } else if is_gone {
                let stages: Vec<_> = self.seqs.iter().filter(|(_, (other, _))| *other == number).collect();
                self.violate(format!("LOST: record {number} of {} bytes ({stages:?})", put.len));
            }
            if self.puts[number].told == Told::Refused && self.puts[number].buried {
                self.violate(format!("record {number} is in a dead letter, but its put was refused"));
            }
        }
        // A replay puts records again, which may be delivered then.
        if expired > self.expired + self.expired_untold && !self.faulty {
            let told = self.expired;
            self.violate(format!("{expired} records are gone that had expired, and {told} were told of"));
        }
    }

    fn drops_expired(&self) -> bool {
        self.options.on_expired == OnExpired::Drop
    }

    /// Everything is delivered, and this is the file: whole records only, each once, in order.
    pub(crate) fn account_file(&mut self, file: &[u8]) {
        let Some(target) = self.target else { return };
        let torn = self.puts.iter().any(|put| put.loose);
        let (mut rest, mut last) = (file, None);
        let mut found = vec![0; self.puts.len()];
        while !rest.is_empty() {
            let cut = match target.framing {
                Framing::Lines => rest.iter().position(|byte| *byte == b'\n').map(|end| (0, end, end + 1)),
                Framing::LengthPrefixed => rest.first_chunk().and_then(|head| {
                    let end = 4 + u32::from_le_bytes(*head) as usize;
                    (end <= rest.len()).then_some((4, end, end))
                }),
            };
            let number = cut.and_then(|(start, end, _)| self.number_of(&rest[start..end]));
            match number {
                Some(number) => {
                    found[number] += 1;
                    if !self.puts[number].loose
                        && let Some(before) = last.replace(number)
                        && before >= number
                    {
                        self.violate(format!("in the file record {number} stands behind {before}"));
                    }
                }
                // Where frames were lost nobody finds the next one; lines are found.
                None if torn && target.framing == Framing::LengthPrefixed => return,
                None if torn => {}
                None => {
                    let at = file.len() - rest.len();
                    self.violate(format!("the file has at {at} of {} what nobody put", file.len()));
                    return;
                }
            }
            rest = cut.map_or(&[], |(_, _, next)| &rest[next..]);
        }
        for (number, found) in found.into_iter().enumerate() {
            let Put { told, excused, buried, loose, .. } = self.puts[number];
            match found {
                0 if told == Told::Accepted && !excused && !buried && !loose => {
                    self.violate(format!("LOST: record {number} did not get to the file"));
                }
                1.. if told == Told::Refused => {
                    self.violate(format!("record {number} is in the file, but its put was refused"));
                }
                2.. if !loose => self.violate(format!("record {number} is {found} times in the file")),
                _ => {}
            }
        }
    }
}
