//! Lines that are JSON: checked, and asked for the fields that are a record's id, key, topic, headers and time of expiry; and
//! lines that are whole records, as `cat --json` and `dead-letters show --json` print them.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::intake::Fields;
use crate::text;

/// Which fields of each line say something of the record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) id: Option<String>,
    pub(crate) key: Option<String>,
    /// A line need not have this one, nor those below.
    pub(crate) topic: Option<String>,
    pub(crate) headers: Option<String>,
    pub(crate) expires_at: Option<String>,
}

/// Reads a line. Its nesting may be as deep as it likes: nothing of it is kept but the fields.
pub(crate) fn fields(line: &[u8], names: &Names) -> Result<Fields, String> {
    let object = Object::read(line)?;
    let needed = |name: &String| {
        object.find(name)?.map(as_text).unwrap_or_else(|| Err(format!("there is no field {name:?}"))).map(Some)
    };
    let wanted = |name: &Option<String>| name.as_deref().map_or(Ok(None), |name| object.find_some(name));
    Ok(Fields {
        id: names.id.as_ref().map_or(Ok(None), needed)?,
        key: names.key.as_ref().map_or(Ok(None), needed)?.map(String::into_bytes),
        topic: wanted(&names.topic)?.map(as_text).transpose()?,
        headers: wanted(&names.headers)?.map_or(Ok(Vec::new()), headers)?,
        expires_at: wanted(&names.expires_at)?.map(as_time).transpose()?,
        ..Fields::default()
    })
}

/// Reads a line that is a record as `cat --json` prints it, or a line of `dead-letters show --json`, which has one inside.
/// What else such a line says, such as the record's seq, is of the buffer that it was in.
pub(crate) fn record(line: &[u8]) -> Result<Fields, String> {
    let outer = Object::read(line)?;
    let object = match outer.find("record")? {
        Some(inner) => Object(inner.get()),
        None => outer,
    };
    let bytes = |name: &str| match (object.find_some(name)?, object.find_some(&format!("{name}_base64"))?) {
        (Some(_), Some(_)) => Err(format!("there are both {name:?} and \"{name}_base64\"")),
        (Some(value), None) => as_string(value).map(|text| Some(text.into_bytes())),
        (None, Some(value)) => as_bytes(value).map(Some),
        (None, None) => Ok(None),
    };
    let string = |name: &str| object.find_some(name)?.map(as_string).transpose();
    let time = |name: &str| object.find_some(name)?.map(as_time).transpose();
    Ok(Fields {
        id: string("id")?,
        key: bytes("key")?,
        topic: string("topic")?,
        headers: object.find_some("headers")?.map_or(Ok(Vec::new()), headers)?,
        created_at: time("created_at")?,
        expires_at: time("expires_at")?,
        data: Some(bytes("data")?.ok_or("there is no field \"data\" or \"data_base64\"")?),
    })
}

/// A line, or a value in it. What is no object has no field.
#[derive(Clone, Copy)]
struct Object<'a>(&'a str);

impl<'a> Object<'a> {
    fn read(line: &'a [u8]) -> Result<Object<'a>, String> {
        let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| wording(&error))?;
        Ok(Object(text))
    }

    /// Calls `each` with the fields, in order.
    fn each(self, each: impl FnMut(Cow<'a, str>, &'a RawValue)) -> Result<(), String> {
        struct Each<F>(F);
        impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for Each<F> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
                while let Some(Text(name)) = map.next_key()? {
                    self.0(name, map.next_value()?);
                }
                Ok(())
            }
        }
        if !self.0.trim_start().starts_with('{') {
            return Ok(());
        }
        let mut reader = serde_json::Deserializer::from_str(self.0);
        reader.deserialize_map(Each(each)).map_err(|error| wording(&error))
    }

    /// The value of a field; of the last one where several have the name, as in most readers of JSON.
    fn find(self, name: &str) -> Result<Option<&'a RawValue>, String> {
        let mut found = None;
        self.each(|key, value| {
            if key == name {
                found = Some(value);
            }
        })?;
        Ok(found)
    }

    /// As [`find`](Self::find); a field that is `null` is none.
    fn find_some(self, name: &str) -> Result<Option<&'a RawValue>, String> {
        Ok(self.find(name)?.filter(|value| value.get() != "null"))
    }
}

/// A string, or the JSON as it stands.
fn as_text(value: &RawValue) -> Result<String, String> {
    if value.get().starts_with('"') { as_string(value) } else { Ok(value.get().to_owned()) }
}

fn as_string(value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|error| wording(&error))
}

fn as_bytes(value: &RawValue) -> Result<Vec<u8>, String> {
    let text = as_string(value)?;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| format!("it is not base 64: {error}"))
}

/// A time as text. A number says neither its unit nor where it counts from, and a guess would let records expire.
fn as_time(value: &RawValue) -> Result<i64, String> {
    let time = if value.get().starts_with('"') { text::micros(&as_string(value)?) } else { None };
    time.ok_or_else(|| format!("{} is no time such as \"2026-11-29T12:00:00Z\" (RFC 3339)", value.get()))
}

/// Headers: an object of names with values, or a list of objects with `name` and `value` or `value_base64`, which can hold
/// any bytes.
fn headers(value: &RawValue) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut found = Vec::new();
    if value.get().starts_with('{') {
        let mut wrong = None;
        Object(value.get()).each(|name, value| match as_text(value) {
            Ok(text) => found.push((name.into_owned(), text.into_bytes())),
            Err(error) => wrong = Some(error),
        })?;
        return wrong.map_or(Ok(found), Err);
    }
    let no_headers = || "headers are an object, or a list of objects with \"name\" and \"value\" or \"value_base64\"";
    let list: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| no_headers())?;
    for header in list {
        let header = Object(header.get());
        let name = header.find("name")?.ok_or_else(no_headers)?;
        let value = match (header.find("value")?, header.find("value_base64")?) {
            (Some(value), None) => as_text(value)?.into_bytes(),
            (None, Some(value)) => as_bytes(value)?,
            _ => return Err(no_headers().into()),
        };
        found.push((as_string(name)?, value));
    }
    Ok(found)
}

/// Text that is copied only if it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// What is wrong with a line, which is always line 1 of itself.
fn wording(error: &serde_json::Error) -> String {
    format!("it is not JSON: {}", error.to_string().replace(" at line 1 column ", " at column "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<(String, String), String> {
        let names = Names { id: Some("n".into()), key: Some("user".into()), ..Names::default() };
        let fields = fields(line.as_bytes(), &names)?;
        Ok((fields.id.unwrap(), String::from_utf8(fields.key.unwrap()).unwrap()))
    }

    #[test]
    fn fields_are_text_or_the_json_as_it_stands() {
        assert_eq!(of(r#" {"n": 1, "user": "u"}"#).unwrap(), ("1".into(), "u".into()));
        // More digits than any float has.
        let exact = r#"{"user":{"a": [1]},"x":0,"n":123456789012345678901234567890,"\u006e":1e2}"#;
        assert_eq!(of(exact).unwrap(), ("1e2".into(), r#"{"a": [1]}"#.into()));
        assert_eq!(of(&exact.replace("\\u006e", "m")).unwrap().0, "123456789012345678901234567890");
        assert_eq!(of(r#"{"n":"\u2603","user":""}"#).unwrap(), ("☃".into(), String::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("{nonsense", "it is not JSON: key must be a string at column 2"),
            ("[NaN]", "it is not JSON: expected value at column 2"),
            ("", "it is not JSON: EOF while parsing a value at column 0"),
            ("{} {}", "trailing characters"),
            (r#"{"n": 3}"#, r#"there is no field "user""#),
            (r#"{"n": "\ud800", "user": ""}"#, "it is not JSON"),
            ("5", r#"there is no field "n""#),
            ("[]", r#"there is no field "n""#),
        ] {
            let said = of(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
        assert!(fields(b"\"\xff\"", &Names::default()).unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn nesting_may_be_deep() {
        let deep = |inside: &str| format!("{}{inside}{}", "[".repeat(100_000), "]".repeat(100_000));
        fields(deep("").as_bytes(), &Names::default()).unwrap();
        assert_eq!(of(&format!(r#"{{"n":1,"user":{}}}"#, deep("2"))).unwrap().1, deep("2"));
        assert!(of(&"[".repeat(100_000)).unwrap_err().contains("EOF"));
    }

    #[test]
    fn what_else_a_record_carries_is_in_fields_that_a_line_need_not_have() {
        let named = |name: &str| Some(name.to_owned());
        let names = Names { topic: named("t"), headers: named("h"), expires_at: named("e"), ..Names::default() };
        let of = |line: &str| fields(line.as_bytes(), &names);
        let pair = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        for line in ["{}", "[]", r#"{"t": null, "h": null, "e": null}"#] {
            assert_eq!(of(line), Ok(Fields::default()), "{line}");
        }
        let all =
            of(r#"{"t":"gr\u00f6\u00dfe","e":"1970-01-01T01:00:00+01:00","h":{"b":"x","a":[1, 2],"b":""}}"#).unwrap();
        assert_eq!((all.topic.as_deref(), all.expires_at), (Some("größe"), Some(0)));
        assert_eq!(all.headers, [pair("b", b"x"), pair("a", b"[1, 2]"), pair("b", b"")]);
        let listed = of(r#"{"h":[{"name":"a","value":"1"},{"name":"a","value_base64":"/wA="}]}"#).unwrap();
        assert_eq!(listed.headers, [pair("a", b"1"), pair("a", b"\xff\0")]);
        for (line, why) in [
            (r#"{"e": 1764417600}"#, "1764417600 is no time such as"),
            (r#"{"e": "2026-02-30T00:00:00Z"}"#, "is no time such as"),
            (r#"{"h": "a=b"}"#, "headers are an object, or a list"),
            (r#"{"h": [["a", "b"]]}"#, "headers are an object, or a list"),
            (r#"{"h": [{"name": "a"}]}"#, "headers are an object, or a list"),
            (r#"{"h": [{"name": "a", "value_base64": "?"}]}"#, "it is not base 64"),
        ] {
            let said = of(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }

    #[test]
    fn a_record_without_data_is_none() {
        for (line, why) in [
            ("{}", "there is no field \"data\""),
            ("[1]", "there is no field \"data\""),
            (r#"{"data": 5}"#, "it is not JSON: invalid type"),
            (r#"{"data": "", "data_base64": ""}"#, "both"),
            (r#"{"data": "", "created_at": 5}"#, "is no time"),
        ] {
            let said = record(line.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
        assert_eq!(record(br#"{"data": ""}"#).unwrap().data, Some(Vec::new()));
    }

    /// Whatever a line is: an error of one line, or fields that stand in it.
    #[test]
    fn whatever_a_line_is_its_fields_stand_in_it() {
        let record =
            br#"{"seq":7,"id":"i","key_base64":"AAE=","topic":"t","headers":[{"name":"h","value_base64":"/w=="}],
            "created_at":"2026-11-29T12:00:00Z","expires_at":"2027-01-01T00:00:00.5+01:00","data":"x\u0000y"}"#;
        let letter = br#"{"batch":"1-2-3","record":{"id":null,"key":"k","data_base64":"","headers":{"a":"1","b":2}},"reason":"no"}"#;
        let nested = [b"[".repeat(400), b"1".to_vec(), b"]".repeat(400)].concat();
        let names = Names {
            id: Some("id".into()),
            key: Some("key".into()),
            topic: Some("topic".into()),
            headers: Some("headers".into()),
            expires_at: Some("expires_at".into()),
        };
        let mut read = 0;
        crate::any_bytes::changed(&[record, letter, &nested], 20_000, |line| {
            for fields in [fields(line, &names), super::record(line)].into_iter().flatten() {
                read += 1;
                let json: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
                let inner = json.get("record").unwrap_or(&json);
                let is_there = |id: &str| {
                    let is_id = |value: &serde_json::Value| match value {
                        serde_json::Value::Number(number) => number.to_string() == id,
                        other => *other == *id,
                    };
                    [&json, inner].iter().any(|object| is_id(&object["id"]))
                };
                assert!(fields.id.as_deref().is_none_or(is_there), "{}", String::from_utf8_lossy(line));
            }
        });
        assert!(read > 100, "{read}");
    }
}
