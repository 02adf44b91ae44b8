//! No panic of the engine or of this crate unwinds into C.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::{Error, ErrorKind, Result};

/// Runs the work of a function that can fail; a panic becomes an `Internal` error with its message.
#[inline]
pub(crate) fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(defect(&*panic)))
}

/// Runs the work of a function that cannot fail; a panic becomes the type's zero.
#[inline]
pub(crate) fn infallible<T: Default>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}

#[cold]
fn defect(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::new(ErrorKind::Internal, format!("a defect of unistream, please report it: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error_with_its_message() {
        let error = caught(|| panic!("number {}", 7)).expect_err("a panic is an error");
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.message().ends_with("please report it: number 7"), "{error}");
        assert_eq!(infallible::<u64>(|| panic!("no value")), 0);
    }
}
