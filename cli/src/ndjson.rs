//! Lines that are JSON: checked, and asked for the fields that are a record's id and key.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::intake::Fields;

/// Which fields of each line are the record's id and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) id: Option<String>,
    pub(crate) key: Option<String>,
}

/// Reads a line. Its nesting may be as deep as it likes: nothing of it is kept but the fields.
pub(crate) fn fields(line: &[u8], names: &Names) -> Result<Fields, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| wording(&error))?;
    let field = |name: &str| {
        // What is no object has no field.
        let found = if text.trim_start().starts_with('{') { find(text, name)? } else { None };
        let value = found.ok_or_else(|| format!("there is no field {name:?}"))?;
        if value.get().starts_with('"') {
            serde_json::from_str(value.get()).map_err(|error| wording(&error))
        } else {
            Ok(value.get().to_owned())
        }
    };
    Ok(Fields {
        id: names.id.as_deref().map(field).transpose()?,
        key: names.key.as_deref().map(field).transpose()?.map(String::into_bytes),
    })
}

/// The value of a field; of the last one where several have the name, as in most readers of JSON.
fn find<'a>(text: &'a str, name: &str) -> Result<Option<&'a RawValue>, String> {
    struct Find<'n>(&'n str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Text(key)) = map.next_key()? {
                let value: &RawValue = map.next_value()?;
                if key == self.0 {
                    found = Some(value);
                }
            }
            Ok(found)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Find(name)).map_err(|error| wording(&error))
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
        let names = Names { id: Some("n".into()), key: Some("user".into()) };
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
}
