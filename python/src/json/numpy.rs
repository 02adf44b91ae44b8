//! Numbers and arrays of numpy, if the program has imported it.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDict, PyList, PyString};

use super::{Writer, Written, deeper, write_array_with, write_float, write_value};

/// A number or an array of numpy, of a kind that has a form: truth values, numbers, text, dates and objects.
pub(super) struct Array<'py> {
    value: Bound<'py, PyAny>,
    /// As numpy's `dtype.kind` has it.
    kind: char,
    item_size: usize,
}

/// What numpy calls `name`; `None` while nobody has imported it, so that nothing can be of its types.
fn of_numpy<'py>(py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.import(py, "sys", "modules")?;
    modules.get_item(intern!(py, "numpy"))?.map_or(Ok(None), |numpy| numpy.getattr_opt(name))
}

/// The Python value of a number of numpy; `None` for anything else.
pub(super) fn item<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match Array::of(value)? {
        Some(number) if value.getattr(intern!(value.py(), "shape"))?.len()? == 0 => number.plain().map(Some),
        _ => Ok(None),
    }
}

impl<'py> Array<'py> {
    /// `None` for what is not numpy's, and for kinds without a form.
    pub(super) fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = value.py();
        let is = |name| of_numpy(py, name)?.map_or(Ok(false), |class| value.is_instance(&class));
        if !is(intern!(py, "ndarray"))? && !is(intern!(py, "generic"))? {
            return Ok(None);
        }
        let dtype = value.getattr(intern!(py, "dtype"))?;
        let kind = dtype.getattr(intern!(py, "kind"))?.extract()?;
        let item_size = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
        Ok("biufUTOM".contains(kind).then(|| Array { value: value.clone(), kind, item_size }))
    }

    pub(super) fn write(&self, w: &mut Writer<'_>, depth: usize) -> Written {
        let py = self.value.py();
        if self.kind == 'f' && self.item_size < size_of::<f64>() {
            // Python's float would have digits that a smaller number does not have.
            if self.is_masked()? {
                return write_unmasked(w, &self.plain()?, depth);
            }
            let numbers = self.value.call_method1(intern!(py, "astype"), (intern!(py, "float32"),))?;
            let shape: Vec<usize> = numbers.getattr(intern!(py, "shape"))?.extract()?;
            let numbers = if shape.is_empty() {
                // pyo3 refuses a buffer without dimensions.
                vec![self.plain()?.extract::<f64>()? as f32]
            } else {
                PyBuffer::<f32>::get(&numbers)?.to_vec(py)?
            };
            return write_numbers(w, &mut numbers.into_iter(), &shape, depth);
        }
        let plain = self.plain()?;
        if self.kind == 'M' { write_moments(w, &plain, depth) } else { write_value(w, &plain, deeper(depth)?) }
    }

    /// Whether some of it may be masked, which `tolist` makes `None` and a buffer does not show.
    fn is_masked(&self) -> PyResult<bool> {
        self.value.hasattr(intern!(self.value.py(), "mask"))
    }

    /// Python's own values: lists, numbers, and `datetime`s to the microsecond.
    fn plain(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.value.py();
        let like = match self.kind {
            'M' => intern!(py, "datetime64[us]"),
            'f' => intern!(py, "float64"),
            _ => return self.value.call_method0(intern!(py, "tolist")),
        };
        self.value.call_method1(intern!(py, "astype"), (like,))?.call_method0(intern!(py, "tolist"))
    }
}

fn write_numbers(
    w: &mut Writer<'_>,
    numbers: &mut impl Iterator<Item = f32>,
    shape: &[usize],
    depth: usize,
) -> Written {
    if let Some((length, inner)) = shape.split_first() {
        return write_array_with(w, depth, *length, |w, _, depth| write_numbers(w, numbers, inner, depth));
    }
    write_number(w, numbers.next().unwrap_or_default())
}

/// Writes smaller numbers of which some may be masked.
fn write_unmasked(w: &mut Writer<'_>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    if let Ok(list) = value.cast::<PyList>() {
        return write_array_with(w, depth, list.len(), |w, nth, depth| write_unmasked(w, &list.get_item(nth)?, depth));
    }
    if value.is_none() { write_value(w, value, depth) } else { write_number(w, value.extract::<f64>()? as f32) }
}

fn write_number(w: &mut Writer<'_>, number: f32) -> Written {
    // The digits that tell this number from the next float32.
    let shown: f64 = ryu::Buffer::new().format(number).parse().unwrap_or(f64::NAN);
    Ok(write_float(&mut w.out, shown)?)
}

/// Writes dates; numpy makes numbers of those that no `datetime` holds.
fn write_moments(w: &mut Writer<'_>, value: &Bound<'_, PyAny>, depth: usize) -> Written {
    if let Ok(list) = value.cast::<PyList>() {
        return write_array_with(w, depth, list.len(), |w, nth, depth| write_moments(w, &list.get_item(nth)?, depth));
    }
    if value.is_none() || value.is_instance_of::<PyDateTime>() {
        return write_value(w, value, depth);
    }
    Err(PyValueError::new_err("a date before the year 1 or after 9999 has no form in JSON").into())
}
