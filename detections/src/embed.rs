//! The packs in the binary.
//!
//! The compiler does not notice a file that is new in `packs/`; a test compares this with the folder and says so.

use std::path::Path;

use include_dir::{Dir, include_dir};
use weir_engine::parallel;

use crate::error::{Error, Result};
use crate::format;
use crate::load::{LoadedRule, checked, is_rule};

static PACKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/packs");

/// Every rule of the packs that ship with Weir, in order of their paths (`cloudtrail/trail_stopped.yml`).
pub fn embedded() -> Result<Vec<LoadedRule>> {
    let mut files = vec![];
    let mut open = vec![&PACKS];
    while let Some(folder) = open.pop() {
        open.extend(folder.dirs());
        let rules = folder.files().filter(|file| is_rule(file.path()));
        files.extend(rules.map(|file| (folder.path(), file)));
    }
    files.sort_by_key(|(_, file)| file.path());
    let read = parallel::map(&files, |(folder, file)| {
        let path = file.path().to_string_lossy();
        file.contents_utf8()
            .ok_or_else(|| Error::rule(&path, "not UTF-8 text"))
            .and_then(|text| format::parse(&path, text, &|case| read(folder, case)))
    });
    checked(read, vec![])
}

fn read(folder: &Path, case: &Path) -> Result<Vec<u8>, String> {
    let file = PACKS.get_file(folder.join(case));
    file.map(|file| file.contents().to_vec())
        .ok_or_else(|| "not in the embedded packs".to_owned())
}
