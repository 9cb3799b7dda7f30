//! What a record of a location database says, whatever its vendor calls it and whichever type it has: MaxMind's and
//! DB-IP's nested records, IPinfo's flat ones.

use std::fmt;

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What the databases say about one address.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Place {
    pub city: Option<String>,
    /// ISO 3166 code.
    pub country: Option<String>,
    pub lat: Option<f64>,
    pub long: Option<f64>,
    pub asn: Option<i64>,
    pub as_name: Option<String>,
}

/// Where a part of a record stands, the first that is there.
type Paths = &'static [&'static [&'static str]];

/// The country where the address is; then the one whose registry assigned it.
const COUNTRY: Paths = &[
    &["country", "iso_code"],
    &["country_code"],
    &["country", "code"],
    &["country"],
    &["geo", "country_code"],
    &["location", "country_code"],
    &["registered_country", "iso_code"],
    &["registered_country"],
];
const CITY: Paths = &[
    &["city", "names"],
    &["city", "name"],
    &["city"],
    &["city_name"],
    &["geo", "city"],
    &["location", "city"],
];
const LATITUDE: Paths = &[
    &["location", "latitude"],
    &["location", "lat"],
    &["latitude"],
    &["lat"],
    &["geo", "latitude"],
    &["geo", "lat"],
];
const LONGITUDE: Paths = &[
    &["location", "longitude"],
    &["location", "lng"],
    &["location", "lon"],
    &["longitude"],
    &["lng"],
    &["lon"],
    &["long"],
    &["geo", "longitude"],
    &["geo", "lng"],
    &["geo", "lon"],
];
/// Both, with a comma between.
const BOTH: Paths = &[&["loc"], &["location"], &["geo", "loc"]];
const NUMBER: Paths = &[
    &["autonomous_system_number"],
    &["traits", "autonomous_system_number"],
    &["asn", "asn"],
    &["asn", "number"],
    &["asn"],
    &["as", "asn"],
    &["as", "number"],
    &["as_number"],
    &["asn_number"],
    &["as"],
];
const NAME: Paths = &[
    &["autonomous_system_organization"],
    &["traits", "autonomous_system_organization"],
    &["as_name"],
    &["asn", "name"],
    &["as", "name"],
    &["as_organization"],
    &["as_org"],
    &["asn_name"],
    &["asn_org"],
    &["name"],
];
/// Number and name, as in `AS64500 Example Net`.
const NUMBER_AND_NAME: Paths = &[&["org"]];

impl Place {
    /// Takes what a record of a city or country database says.
    pub fn locate(&mut self, record: &Field) {
        let code = |field: &Field| {
            let text = field.text()?.trim();
            let code = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
            code.then(|| text.to_ascii_uppercase())
        };
        self.country = record.first(COUNTRY, code);
        self.city = record.first(CITY, Field::name);
        let within = |limit: f64| move |field: &Field| field.number().filter(|n| n.abs() <= limit);
        self.lat = record.first(LATITUDE, within(90.0));
        self.long = record.first(LONGITUDE, within(180.0));
        if self.lat.is_none() && self.long.is_none() {
            let both = |field: &Field| {
                let (lat, long) = field.text()?.split_once(',')?;
                let read = |text: &str, limit| within(limit)(&Field::Text(text.into()));
                Some((read(lat, 90.0)?, read(long, 180.0)?))
            };
            (self.lat, self.long) = record.first(BOTH, both).unzip();
        }
        // One without the other is no place.
        if self.lat.is_none() || self.long.is_none() {
            (self.lat, self.long) = (None, None);
        }
    }

    /// Takes what a record of a database of autonomous systems says.
    pub fn attribute(&mut self, record: &Field) {
        self.asn = record.first(NUMBER, Field::asn);
        self.as_name = record.first(NAME, Field::name);
        let both = |field: &Field| {
            let (number, name) = field.text()?.split_once(' ')?;
            Some((Field::Text(number.into()).asn()?, name.trim().to_owned()))
        };
        if self.asn.is_none()
            && let Some((number, name)) = record.first(NUMBER_AND_NAME, both)
        {
            self.asn = Some(number);
            self.as_name = self.as_name.take().or(Some(name));
        }
    }
}

/// A record, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Text(String),
    Number(f64),
    Map(Vec<(String, Field)>),
    /// What is never looked into.
    Other,
}

impl Field {
    fn get(&self, name: &str) -> Option<&Field> {
        match self {
            Self::Map(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, f)| f),
            _ => None,
        }
    }

    fn first<T>(&self, paths: Paths, read: impl Fn(&Field) -> Option<T>) -> Option<T> {
        paths.iter().find_map(|path| {
            let field = path.iter().try_fold(self, |field, name| field.get(name));
            read(field?)
        })
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// A name; of several languages the English one, or the first.
    fn name(&self) -> Option<String> {
        let text = match self {
            Self::Map(names) => self.get("en").or(names.first().map(|(_, name)| name))?,
            other => other,
        };
        let text = text.text()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// `64500`, `"64500"` or `"AS64500"`.
    fn asn(&self) -> Option<i64> {
        let number = match self {
            Self::Text(text) => {
                let text = text.trim();
                let digits = match text.get(..2) {
                    Some(start) if start.eq_ignore_ascii_case("as") => &text[2..],
                    _ => text,
                };
                f64::from(digits.trim().parse::<u32>().ok()?)
            }
            other => other.number()?,
        };
        let valid = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        valid.then_some(number as i64)
    }

    /// Names of a record's own fields.
    fn names(&self) -> impl Iterator<Item = &str> {
        let fields = match self {
            Self::Map(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field of a record")
            }
            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.to_owned()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
                Ok(Field::Number(number))
            }
            fn visit_f32<E>(self, number: f32) -> Result<Field, E> {
                // The decimal number that was meant, not the nearest float's many digits.
                let meant = number.to_string().parse();
                Ok(Field::Number(meant.unwrap_or_else(|_| f64::from(number))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
                Ok(Field::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
                Ok(Field::Number(number as f64))
            }
            fn visit_u128<E>(self, number: u128) -> Result<Field, E> {
                Ok(Field::Number(number as f64))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_bytes<E>(self, _: &[u8]) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Field, A::Error> {
                let mut fields = vec![];
                while let Some(field) = members.next_entry()? {
                    fields.push(field);
                }
                Ok(Field::Map(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What the first records of a database say.
#[derive(Debug, Default)]
pub struct Sample {
    pub records: usize,
    /// Whether any of them has a part of a location, and an autonomous system.
    pub locates: bool,
    pub attributes: bool,
    /// Names of their fields.
    pub names: Vec<String>,
}

/// Records that are looked at, and networks until then.
const SAMPLE: usize = 200;
const NETWORKS: usize = 20_000;

pub fn sample(database: &Reader<Vec<u8>>) -> Result<Sample, MaxMindDbError> {
    let mut sample = Sample::default();
    for found in database.networks(WithinOptions::default())?.take(NETWORKS) {
        let Some(record) = found?.decode::<Field>()? else {
            continue;
        };
        let (mut location, mut system) = (Place::default(), Place::default());
        location.locate(&record);
        system.attribute(&record);
        sample.locates |= location != Place::default();
        sample.attributes |= system.asn.is_some();
        for name in record.names() {
            if !sample.names.iter().any(|known| known == name) {
                sample.names.push(name.to_owned());
            }
        }
        sample.records += 1;
        if sample.records == SAMPLE {
            break;
        }
    }
    Ok(sample)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(record: serde_json::Value) -> Place {
        let record: Field = serde_json::from_value(record).unwrap();
        let mut place = Place::default();
        place.locate(&record);
        place.attribute(&record);
        place
    }

    fn berlin() -> Place {
        Place {
            city: Some("Berlin".into()),
            country: Some("DE".into()),
            lat: Some(52.52),
            long: Some(13.0),
            asn: Some(64_500),
            as_name: Some("Example Net".into()),
        }
    }

    #[test]
    fn vendors_say_the_same_in_many_ways() {
        let maxmind = json!({"city": {"names": {"de": "Berlin (de)", "en": "Berlin"}, "geoname_id": 1},
            "country": {"iso_code": "DE"}, "registered_country": {"iso_code": "US"},
            "location": {"latitude": 52.52, "longitude": 13, "accuracy_radius": 5},
            "autonomous_system_number": 64500u64, "autonomous_system_organization": "Example Net"});
        let texts = json!({"city": "Berlin", "country": "DE", "lat": "52.52", "lng": "13.0", "region": "Berlin",
            "asn": "AS64500", "as_name": "Example Net", "as_domain": "example.net"});
        let names = json!({"city": "Berlin", "country": "Germany", "country_code": "de", "loc": "52.52,13.0",
            "org": "AS64500 Example Net"});
        let nested = json!({"geo": {"city": "Berlin", "country": "Germany", "country_code": "DE",
            "latitude": 52.52, "longitude": 13}, "as": {"asn": "AS64500", "name": "Example Net"}, "is_mobile": false});
        for record in [maxmind, texts, names, nested] {
            assert_eq!(place(record.clone()), berlin(), "{record}");
        }
    }

    #[test]
    fn a_part_that_is_missing_or_wrong_is_null() {
        let only_registered =
            json!({"registered_country": {"iso_code": "AU", "names": {"en": "Australia"}}});
        assert_eq!(place(only_registered).country.as_deref(), Some("AU"));
        let french = json!({"country": {"iso_code": "FR"}, "city": {"names": {"fr": "Paris"}}});
        assert_eq!(place(french).city.as_deref(), Some("Paris"));
        for nothing in [
            json!({}),
            json!({"country": "Germany", "city": "", "location": {"latitude": 52.5}}),
            json!({"lat": "north", "lng": "13"}),
            json!({"lat": 95, "lng": 13}),
            json!({"asn": -1}),
            json!({"asn": 1.5}),
            json!({"asn": "ASX"}),
            json!({"asn": 4_294_967_296u64}),
            json!(["DE"]),
        ] {
            assert_eq!(place(nothing.clone()), Place::default(), "{nothing}");
        }
    }
}
