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
use weir_engine::Result;
use weir_engine::schema::col;

use super::place::{self, Field, Place};
use super::problems::Problems;
use super::replace;

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
        let mut open = |path: Option<&Path>, what: &str| -> Option<Database> {
            let path = path?;
            let shown = path.display();
            match read(path) {
                Ok(reader) => {
                    let doubt = doubt(&reader, what == CITY);
                    let doubt = doubt.map(|doubt| format!("{shown}: {doubt}"));
                    problems.warnings.extend(doubt);
                    Some(reader)
                }
                Err(reason) => {
                    problems.broken = true;
                    problems.warnings.push(format!(
                        "{shown}: the {what} database cannot be read, its columns stay null: {reason}"
                    ));
                    None
                }
            }
        };
        Self {
            city: open(city, CITY),
            asn: open(asn, "ASN"),
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
        let mut place = Place::default();
        if let Some(record) = self.record(city, address) {
            place.locate(&record);
        }
        if let Some(record) = self.record(asn, address) {
            place.attribute(&record);
        }
        place
    }

    fn find<'a>(&self, database: Option<&'a Database>, address: IpAddr) -> Option<Found<'a>> {
        let database = database?;
        let of_version_4 = database.metadata().ip_version == 4;
        let look_up = |address| {
            let found = database.lookup(address);
            found.map_err(|error| self.report(address, &error)).ok()
        };
        match address {
            IpAddr::V6(_) if of_version_4 => None,
            // Some databases hold the addresses of version 4 only as mapped ones.
            IpAddr::V4(plain) if !of_version_4 => {
                let found = look_up(address).filter(Found::has_data);
                found.or_else(|| look_up(plain.to_ipv6_mapped().into()))
            }
            _ => look_up(address),
        }
    }

    fn record(&self, found: Option<Found>, address: IpAddr) -> Option<Field> {
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

/// The database of places, in messages.
const CITY: &str = "city";

fn read(path: &Path) -> Result<Database, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    Reader::from_source(bytes).map_err(|error| match error {
        MaxMindDbError::InvalidDatabase { .. } => format!("it is no MaxMind DB file: {error}"),
        error => error.to_string(),
    })
}

/// Why a database that can be read may say nothing that is wanted.
fn doubt(database: &Database, wants_places: bool) -> Option<String> {
    let sample = match place::sample(database) {
        Ok(sample) => sample,
        Err(error) => return Some(format!("the database is damaged: {error}")),
    };
    let (has, has_other, wanted) = match wants_places {
        true => (
            sample.locates,
            sample.attributes,
            "country, city and location",
        ),
        false => (
            sample.attributes,
            sample.locates,
            "number of an autonomous system",
        ),
    };
    if has {
        return None;
    }
    let kind = &database.metadata().database_type;
    let named = format!("the database ({kind})");
    Some(if sample.records == 0 {
        format!("{named} holds no records")
    } else if has_other {
        let (is, other) = match wants_places {
            true => (CITY, "ASN"),
            false => ("ASN", CITY),
        };
        format!(
            "{named} is configured as the {is} database, but its records are those of the {other} database; are the two paths swapped? Its columns stay null"
        )
    } else {
        let names = match sample.names.is_empty() {
            true => "none".to_owned(),
            false => sample.names.join(", "),
        };
        format!(
            "{named} has records of another schema: none of the first {} has a {wanted}; their fields are {names}. Its columns stay null",
            sample.records
        )
    })
}

#[cfg(test)]
mod tests;
