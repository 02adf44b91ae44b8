//! Texts in which `{key}`, `{id}`, `{topic}` and `{header.NAME}` stand for a record's, and where a record goes by them.

use std::borrow::Cow;

use super::invalid;
use crate::error::Result;
use crate::record::NewRecord;

/// A text with places that a record fills.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Key,
    Id,
    Topic,
    Header(String),
}

impl Template {
    /// `None` if a `{…}` stands for nothing.
    pub(crate) fn parse(mut text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        while let Some((before, rest)) = text.split_once('{') {
            let (name, after) = rest.split_once('}')?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(match name {
                "key" => Part::Key,
                "id" => Part::Id,
                "topic" => Part::Topic,
                name => Part::Header(name.strip_prefix("header.").filter(|name| !name.is_empty())?.into()),
            });
            text = after;
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Some(Template(parts))
    }

    /// The text for a record. What it lacks is left out; what is not UTF-8 has replacement characters.
    pub(crate) fn of(&self, record: &NewRecord<'_>, id: &str) -> String {
        self.0.iter().fold(String::new(), |mut text, part| {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Key => text.push_str(&String::from_utf8_lossy(record.key.unwrap_or_default())),
                Part::Id => text.push_str(id),
                Part::Topic => text.push_str(record.topic.unwrap_or_default()),
                Part::Header(name) => {
                    text.push_str(&String::from_utf8_lossy(record.headers.get(name).unwrap_or_default()));
                }
            }
            text
        })
    }
}

/// Where a record goes within a sink: its topic, or what an option says. An option with `{topic}` in it decides in any case.
#[cfg_attr(not(any(feature = "nats", feature = "redis")), allow(dead_code, reason = "for the sinks to brokers"))]
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    option: &'static str,
    template: Template,
    /// The text, if it is the same for every record.
    fixed: Option<String>,
    /// The option decides, also for records that have a topic.
    decides: bool,
}

#[cfg_attr(not(any(feature = "nats", feature = "redis")), allow(dead_code, reason = "for the sinks to brokers"))]
impl Destination {
    /// By the option of this name, and its text.
    ///
    /// # Errors
    /// `InvalidArgument` for a `{…}` that stands for nothing.
    pub(crate) fn parse(option: &'static str, text: &str) -> Result<Self> {
        let template = Template::parse(text).ok_or_else(|| {
            invalid(format!("option {option}: {text:?} has braces around what is not key, id, topic or header.NAME"))
        })?;
        let fixed = match &template.0[..] {
            [] => Some(String::new()),
            [Part::Text(fixed)] => Some(fixed.clone()),
            _ => None,
        };
        let decides = template.0.iter().any(|part| matches!(part, Part::Topic));
        Ok(Destination { option, template, fixed, decides })
    }

    /// Where a record goes; `id` is called if the place depends on the record's id.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub(crate) fn of<'a>(&'a self, record: &NewRecord<'a>, id: &str) -> Result<Cow<'a, str>, String> {
        let place = match (record.topic, &self.fixed) {
            (Some(topic), _) if !self.decides => Cow::Borrowed(topic),
            (_, Some(fixed)) => Cow::Borrowed(&fixed[..]),
            (_, None) => Cow::Owned(self.template.of(record, id)),
        };
        if place.is_empty() {
            return Err(format!("it has no topic, and option {} says nothing else", self.option));
        }
        if place.contains(char::REPLACEMENT_CHARACTER) {
            return Err(format!("where it goes, by option {}, is not UTF-8", self.option));
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_where_its_topic_or_the_option_says() {
        let plain = NewRecord::new(b"").key(b"k");
        let named = plain.topic("t");
        for (option, of_plain, of_named) in [
            ("", None, Some("t")),
            ("fixed", Some("fixed"), Some("t")),
            ("a.{key}", Some("a.k"), Some("t")),
            ("a.{id}.{header.h}", Some("a.i."), Some("t")),
            ("a.{topic}", Some("a."), Some("a.t")),
            ("{topic}", None, Some("t")),
        ] {
            let place = Destination::parse("subject", option).unwrap();
            let of = |record: &NewRecord<'_>| place.of(record, "i").ok().map(Cow::into_owned);
            assert_eq!((of(&plain).as_deref(), of(&named).as_deref()), (of_plain, of_named), "{option}");
        }
        let by_key = Destination::parse("subject", "{key}").unwrap();
        assert!(by_key.of(&NewRecord::new(b"").key(b"\xff"), "i").unwrap_err().contains("UTF-8"));
        assert!(Destination::parse("subject", "{pigeon}").is_err());
    }
}
