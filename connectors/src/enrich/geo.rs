//! GeoIP: city, country, coordinates and autonomous system of the source address.
//!
//! Databases are MaxMind DB files, held in memory. Each distinct address of a batch is looked up once; a
//! bounded cache spares the lookup for addresses that earlier batches had.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray, UInt32Array};
use hashbrown::HashMap;
use maxminddb::Reader;
use serde::Deserialize;
use weir_engine::Result;
use weir_engine::schema::col;

use super::problems::Problems;
use super::{Distinct, replace};

/// Addresses remembered across batches (about 10 MB); when full, the cache starts anew.
const CACHE: usize = 65_536;

/// What the databases say about one address.
#[derive(Debug, Default, PartialEq)]
struct Place {
    city: Option<String>,
    country: Option<String>,
    lat: Option<f64>,
    long: Option<f64>,
    asn: Option<i64>,
    as_name: Option<String>,
}

/// The parts of a City or Country record that are used; the decoder skips the others.
#[derive(Deserialize)]
struct CityRecord<'a> {
    #[serde(borrow, default)]
    city: City<'a>,
    #[serde(borrow, default)]
    country: Country<'a>,
    #[serde(default)]
    location: Location,
}
#[derive(Deserialize, Default)]
struct City<'a> {
    #[serde(borrow, default)]
    names: Names<'a>,
}
#[derive(Deserialize, Default)]
struct Names<'a> {
    #[serde(borrow)]
    en: Option<&'a str>,
}
#[derive(Deserialize, Default)]
struct Country<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
}
#[derive(Deserialize, Default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// ASN and ISP databases both have these fields.
#[derive(Deserialize)]
struct AsnRecord<'a> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
}

type Database = Reader<Vec<u8>>;

#[derive(Debug)]
pub struct Geo {
    city: Option<Database>,
    asn: Option<Database>,
    cache: Mutex<HashMap<IpAddr, Arc<Place>>>,
    /// A damaged record was met and reported.
    reported: AtomicBool,
}

impl Geo {
    pub fn open(city: Option<&Path>, asn: Option<&Path>, problems: &mut Problems) -> Self {
        let mut open = |path: Option<&Path>, what: &str, swapped: &[&str]| -> Option<Database> {
            let path = path?;
            let shown = path.display();
            match Reader::open_readfile(path) {
                Ok(reader) => {
                    let kind = &reader.metadata().database_type;
                    if swapped.iter().any(|other| kind.contains(other)) {
                        problems.warnings.push(format!(
                            "{shown}: configured as the {what} database, but it says it is {kind}; are the two paths swapped?"
                        ));
                    }
                    Some(reader)
                }
                Err(error) => {
                    problems.broken = true;
                    problems.warnings.push(format!(
                        "{shown}: the {what} database cannot be read, its columns stay null: {error}"
                    ));
                    None
                }
            }
        };
        Self {
            city: open(city, "city", &["ASN"]),
            asn: open(asn, "ASN", &["City", "Country"]),
            cache: Mutex::default(),
            reported: AtomicBool::new(false),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.city.is_none() && self.asn.is_none()
    }

    /// Fills the location columns; false when there is no database.
    pub fn fill(&self, src: &Distinct, columns: &mut [ArrayRef]) -> Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        let places = self.places(src);
        let of_row = UInt32Array::from(src.of_row.clone());
        let text = |part: fn(&Place) -> Option<&str>| -> ArrayRef {
            Arc::new(StringViewArray::from_iter(places.iter().map(|p| part(p))))
        };
        let float = |part: fn(&Place) -> Option<f64>| -> ArrayRef {
            Arc::new(Float64Array::from_iter(places.iter().map(|p| part(p))))
        };
        let mut put = |column, values| replace(columns, column, values, &of_row);
        if self.city.is_some() {
            put(col::SRC_CITY, text(|p| p.city.as_deref()))?;
            put(col::SRC_COUNTRY, text(|p| p.country.as_deref()))?;
            put(col::SRC_LAT, float(|p| p.lat))?;
            put(col::SRC_LONG, float(|p| p.long))?;
        }
        if self.asn.is_some() {
            let numbers = Int64Array::from_iter(places.iter().map(|p| p.asn));
            put(col::SRC_ASN, Arc::new(numbers))?;
            put(col::SRC_AS_NAME, text(|p| p.as_name.as_deref()))?;
        }
        Ok(true)
    }

    /// Place per distinct address; an empty one for null and for text that is no address.
    fn places(&self, src: &Distinct) -> Vec<Arc<Place>> {
        let nowhere = Arc::new(Place::default());
        let mut places = vec![nowhere.clone(); src.values.len()];
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() + src.values.len() > CACHE {
            cache.clear();
        }
        for (number, text) in src.iter() {
            let Ok(address) = text.parse::<IpAddr>() else {
                continue;
            };
            let address = address.to_canonical();
            places[number] = cache
                .entry(address)
                .or_insert_with(|| Arc::new(self.look_up(address)))
                .clone();
        }
        places
    }

    fn look_up(&self, address: IpAddr) -> Place {
        let city: Option<CityRecord> = self.record(self.city.as_ref(), address);
        let asn: Option<AsnRecord> = self.record(self.asn.as_ref(), address);
        let mut place = Place::default();
        if let Some(record) = city {
            place.city = record.city.names.en.map(str::to_owned);
            place.country = record.country.iso_code.map(str::to_owned);
            place.lat = record.location.latitude;
            place.long = record.location.longitude;
        }
        if let Some(record) = asn {
            place.asn = record.autonomous_system_number.map(i64::from);
            place.as_name = record.autonomous_system_organization.map(str::to_owned);
        }
        place
    }

    fn record<'a, T: Deserialize<'a>>(
        &self,
        database: Option<&'a Database>,
        address: IpAddr,
    ) -> Option<T> {
        let database = database?;
        if address.is_ipv6() && database.metadata().ip_version == 4 {
            return None;
        }
        match database.lookup(address).and_then(|found| found.decode()) {
            Ok(record) => record,
            Err(error) => {
                if !self.reported.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "enrichment: GeoIP database {} is damaged, {address} stays without a place: {error} (said once)",
                        database.metadata().database_type,
                    );
                }
                None
            }
        }
    }
}
