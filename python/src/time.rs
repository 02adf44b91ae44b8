//! Times: seconds or `timedelta` for spans, Unix seconds or an aware `datetime` for instants.

use std::time::{Duration, SystemTime};

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDelta, PyFloat, PyInt, PyTzInfo};
use unistream::NEVER;

/// A span: a number of seconds or a `timedelta`, not negative.
pub(crate) fn duration(span: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds: f64 = match span.cast::<PyDelta>() {
        Ok(delta) => delta.call_method0("total_seconds")?.extract()?,
        Err(_) => span.extract()?,
    };
    if seconds == f64::INFINITY {
        return Ok(NEVER);
    }
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{seconds} is not a span of time in seconds")))
}

pub(crate) fn duration_or_none(span: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if span.is_none() { Ok(None) } else { duration(span).map(Some) }
}

/// A time-out as an argument: a span, or `None` to wait for ever.
pub(crate) struct Timeout(pub(crate) Duration);

impl<'a, 'py> FromPyObject<'a, 'py> for Timeout {
    type Error = PyErr;

    fn extract(span: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Timeout(duration_or_none(&span)?.unwrap_or(NEVER)))
    }
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyDateTime>> {
    static EPOCH: PyOnceLock<Py<PyDateTime>> = PyOnceLock::new();
    let utc = PyTzInfo::utc(py)?;
    EPOCH
        .get_or_try_init(py, || PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc)).map(Bound::unbind))
        .map(|epoch| epoch.bind(py))
}

/// Now, in the microseconds that records carry.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The instant `field` as the microseconds that records carry.
pub(crate) fn to_micros(field: &str, instant: &Bound<'_, PyAny>) -> PyResult<i64> {
    if instant.is_instance_of::<PyFloat>() || instant.is_instance_of::<PyInt>() {
        let micros = instant.extract::<f64>()? * 1e6;
        if micros.is_finite() && micros.abs() < 9e18 {
            return Ok(micros.round() as i64);
        }
        let message = format!("{field} takes seconds since 1970 (or a datetime), not micro- or nanoseconds: {instant}");
        return Err(PyOverflowError::new_err(message));
    }
    let instant = instant.cast::<PyDateTime>()?;
    if instant.getattr("tzinfo")?.is_none() {
        let message = format!("{field} has no time zone; use datetime.now(timezone.utc)");
        return Err(PyValueError::new_err(message));
    }
    let since = instant.sub(epoch(instant.py())?)?;
    let microsecond = PyDelta::new(instant.py(), 0, 0, 1, false)?;
    since.floor_div(microsecond)?.extract()
}

/// The aware `datetime` in UTC of an instant in microseconds; the first or the last that there is, if none holds it.
pub(crate) fn from_micros(py: Python<'_>, micros: i64) -> PyResult<Bound<'_, PyAny>> {
    const DAY: i64 = 86_400 * 1_000_000;
    /// 0001-01-01 and the last microsecond of 9999-12-31.
    const FIRST: i64 = -719_162 * DAY;
    const LAST: i64 = 2_932_897 * DAY - 1;
    let micros = micros.clamp(FIRST, LAST);
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let days = i32::try_from(days)?;
    let (seconds, rest) = ((rest / 1_000_000) as i32, (rest % 1_000_000) as i32);
    epoch(py)?.add(PyDelta::new(py, days, seconds, rest, true)?)
}
