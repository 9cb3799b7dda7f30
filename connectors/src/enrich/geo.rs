//! GeoIP: city, country, coordinates and autonomous system of the source address.
//!
//! Databases are MaxMind DB files, held in memory. Addresses of one record share one place.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray, UInt32Array};
use hashbrown::HashMap;
use maxminddb::{LookupResult, MaxMindDbError, Reader};
use serde::Deserialize;
use weir_engine::Result;
use weir_engine::schema::col;

use super::problems::Problems;
use super::replace;

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

/// Places that were looked up, by number; number 0 is no place.
#[derive(Debug)]
pub struct Places {
    all: Vec<Place>,
    /// By where the databases have their records.
    known: HashMap<[Option<usize>; 2], u32>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: vec![Place::default()],
            known: HashMap::from([([None, None], 0)]),
        }
    }
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
type Found<'a> = LookupResult<'a, Vec<u8>>;

#[derive(Debug)]
pub struct Geo {
    city: Option<Database>,
    asn: Option<Database>,
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
            reported: AtomicBool::new(false),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.city.is_none() && self.asn.is_none()
    }

    /// Fills the location columns from the place of each row; false when there is no database.
    pub fn fill(
        &self,
        of_row: impl Iterator<Item = u32>,
        places: &Places,
        columns: &mut [ArrayRef],
    ) -> Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        // Of all places those of this batch; number 0 stays.
        let mut here = vec![&places.all[0]];
        let mut local = vec![0; places.all.len()];
        let of_row = of_row.map(|place| {
            let local = &mut local[place as usize];
            if *local == 0 && place != 0 {
                *local = here.len() as u32;
                here.push(&places.all[place as usize]);
            }
            *local
        });
        let of_row = UInt32Array::from_iter_values(of_row);
        let text = |part: fn(&Place) -> Option<&str>| -> ArrayRef {
            Arc::new(StringViewArray::from_iter(here.iter().map(|p| part(p))))
        };
        let float = |part: fn(&Place) -> Option<f64>| -> ArrayRef {
            Arc::new(Float64Array::from_iter(here.iter().map(|p| part(p))))
        };
        let mut put = |column, values| replace(columns, column, values, &of_row);
        if self.city.is_some() {
            put(col::SRC_CITY, text(|p| p.city.as_deref()))?;
            put(col::SRC_COUNTRY, text(|p| p.country.as_deref()))?;
            put(col::SRC_LAT, float(|p| p.lat))?;
            put(col::SRC_LONG, float(|p| p.long))?;
        }
        if self.asn.is_some() {
            let numbers = Int64Array::from_iter(here.iter().map(|p| p.asn));
            put(col::SRC_ASN, Arc::new(numbers))?;
            put(col::SRC_AS_NAME, text(|p| p.as_name.as_deref()))?;
        }
        Ok(true)
    }

    /// Number of an address's place; none for text that is no address.
    pub fn place(&self, text: &str, places: &mut Places) -> u32 {
        let Ok(address) = text.parse::<IpAddr>() else {
            return 0;
        };
        let address = address.to_canonical();
        let (city, asn) = (
            self.find(self.city.as_ref(), address),
            self.find(self.asn.as_ref(), address),
        );
        let at = [&city, &asn].map(|found| found.as_ref().and_then(|found| found.offset()));
        if let Some(known) = places.known.get(&at) {
            return *known;
        }
        let number = places.all.len() as u32;
        places.all.push(self.read(address, city, asn));
        places.known.insert(at, number);
        number
    }

    fn read(&self, address: IpAddr, city: Option<Found>, asn: Option<Found>) -> Place {
        let city: Option<CityRecord> = self.record(city, address);
        let asn: Option<AsnRecord> = self.record(asn, address);
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

    fn find<'a>(&self, database: Option<&'a Database>, address: IpAddr) -> Option<Found<'a>> {
        let database = database?;
        if address.is_ipv6() && database.metadata().ip_version == 4 {
            return None;
        }
        let found = database.lookup(address);
        found.map_err(|error| self.report(address, &error)).ok()
    }

    fn record<'a, T: Deserialize<'a>>(
        &self,
        found: Option<Found<'a>>,
        address: IpAddr,
    ) -> Option<T> {
        match found?.decode() {
            Ok(record) => record,
            Err(error) => {
                self.report(address, &error);
                None
            }
        }
    }

    fn report(&self, address: IpAddr, error: &MaxMindDbError) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "enrichment: a GeoIP database is damaged, {address} stays without a place: {error} (said once)"
            );
        }
    }
}
