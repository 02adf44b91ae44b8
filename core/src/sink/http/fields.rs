//! Fields that a preset gives every record: constant, or made of what is known of the record.

use crate::error::Result;
use crate::record::Record;
use crate::sink::net::invalid;
use crate::sink::net::template::Template;

/// Names with their values, of the option `fields`: `service=web,host=web-1,tenant={key}`.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, Template)>);

impl Fields {
    /// # Errors
    /// `InvalidArgument` for what is no list of `name=value`, and for a `{…}` that stands for nothing.
    pub(super) fn parse(list: &str) -> Result<Self> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let parse = |entry: &str| {
            let (name, value) = entry.split_once('=')?;
            let name = name.trim();
            (!name.is_empty()).then_some(())?;
            Some((name.to_owned(), Template::parse(value.trim())?))
        };
        let wrong =
            |entry: &str| invalid(format!("option fields: {entry:?} is not such as service=web or tenant={{key}}"));
        entries.map(|entry| parse(entry).ok_or_else(|| wrong(entry))).collect::<Result<_>>().map(Fields)
    }

    /// Whether there is a field of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &name[..])
    }

    /// How many bytes the fields of a record take at most, as members of JSON or attributes of protobuf.
    pub(super) fn json_bytes(&self, record: &Record<'_>, id: &str) -> u64 {
        // A byte is at most six in JSON; around name and value there are braces, quotes and words.
        self.of(record, id).iter().map(|(name, value)| 6 * (name.len() + value.len()) as u64 + 64).sum()
    }

    /// The fields of a record. One that would be empty is left out.
    pub(super) fn of(&self, record: &Record<'_>, id: &str) -> Vec<(&str, String)> {
        let record = record.to_new();
        let fields = self.0.iter().map(|(name, value)| (&name[..], value.of(&record, id)));
        fields.filter(|(_, value)| !value.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, NewRecord};

    #[test]
    fn fields_are_text_and_what_is_known_of_a_record() {
        let fields = Fields::parse("service=web, tenant={key},name=a-{id}-{key}-z,t={topic},h={header.who},").unwrap();
        let batch = Batch::from_records([
            NewRecord::new(b"").key(b"k").id("i").topic("T").headers(&[("who", &b"me"[..])]),
            NewRecord::new(b"").id("j"),
        ]);
        let of = |index| fields.of(&batch.get(index).unwrap(), &batch.get(index).unwrap().id());
        assert_eq!(
            of(0),
            [
                ("service", "web".into()),
                ("tenant", "k".into()),
                ("name", "a-i-k-z".into()),
                ("t", "T".into()),
                ("h", "me".into())
            ]
        );
        assert_eq!(of(1), [("service", "web".into()), ("name", "a-j--z".into())]);
        assert!(fields.has("tenant") && !fields.has("host"));
        for bad in ["service", "=web", "a={pigeon}", "a={key", "a={}", "a={header.}"] {
            assert!(Fields::parse(bad).is_err(), "{bad}");
        }
    }
}
