//! [`Secret`]: a text that nobody is to see, such as a key, a token or a password.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::platform::secret_memory::Pages;
#[cfg(feature = "net")]
pub(crate) use crate::platform::secret_memory::is_secure_execution;

/// A text that neither `Debug` nor the options' text form shows.
///
/// It lies in memory of its own, which the system leaves out of core dumps and clears when the last clone is dropped.
/// A text that a program hands over by value is overwritten where it was.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<Kept>>);

/// Where the bytes of a secret lie.
enum Kept {
    /// In pages of their own.
    Apart(Pages),
    /// On the heap, because the system gives the process no more mappings.
    Heap(Zeroizing<Box<[u8]>>),
}

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        if text.is_empty() {
            return Secret(None);
        }
        Secret(Some(Arc::new(match Pages::holding(text.as_bytes()) {
            Ok(pages) => Kept::Apart(pages),
            Err(_) => Kept::Heap(Zeroizing::new(text.as_bytes().into())),
        })))
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        let bytes = match self.0.as_deref() {
            None => &[],
            Some(Kept::Apart(pages)) => pages.bytes(),
            Some(Kept::Heap(bytes)) => &bytes[..],
        };
        std::str::from_utf8(bytes).expect("a secret is made from a text")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Secret::new(&Zeroizing::new(text.into()))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reveal() == other.reveal()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_keeps_its_text_and_shows_none() {
        for text in ["", "x", "wJalrXUtnFEMI/K7MDENG", &"é".repeat(5000)] {
            let secret = Secret::from(text);
            assert_eq!(secret.clone().reveal(), text);
            assert_eq!(secret.is_empty(), text.is_empty());
            assert!(secret == Secret::from(text) && secret != Secret::from("y"));
            assert!(text.is_empty() || format!("{secret:?}") == "***");
        }
    }

    /// The flags of the mapping that holds a secret, as the kernel tells them: `dd` is "not in dumps".
    #[test]
    fn a_secret_is_left_out_of_core_dumps() {
        let secret = Secret::from("wJalrXUtnFEMI/K7MDENG");
        let at = secret.reveal().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&at);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                assert!(flags.split_whitespace().any(|flag| flag == "dd"), "{flags}");
                return;
            }
        }
        panic!("the kernel lists no mapping at {at:x}");
    }
}
