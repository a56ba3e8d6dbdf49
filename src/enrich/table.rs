//! A CSV or JSON file as a table of fields by key, read anew when it changes.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::answer::{Answer, FieldPicker, object};
use crate::config::EnrichSettings;
use crate::scanner::{Fields, Pointer, PointerSet, Utf8};

/// A larger file is not read: all of it is held in memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What tells that a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), size: metadata.size(), seconds: metadata.mtime(), nanos: metadata.mtime_nsec() }
    }

    /// Of the file as it is now.
    pub(super) fn now(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Table {
    fields: HashMap<Box<str>, Box<str>>,
    /// The file's when it was read.
    pub(super) stamp: Stamp,
}

/// How a file is read.
#[derive(Debug)]
pub(super) struct TableForm {
    pub(super) path: PathBuf,
    key_field: Option<String>,
    fields: BTreeMap<String, String>,
}

impl TableForm {
    /// As settings say; none of a look-up that is not in a file.
    pub(super) fn new(settings: &EnrichSettings) -> Option<Self> {
        let (key_field, fields) = (settings.key_field.clone(), settings.fields.clone());
        Some(Self { path: settings.file.clone()?, key_field, fields })
    }

    /// Reads the file. Blocking.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub(super) fn read(&self) -> Result<Table, String> {
        let shown = self.path.display();
        let failed = |error: io::Error| format!("{shown}: {error}");
        // Before it is read: a change meanwhile is seen next time.
        let stamp = Stamp::now(&self.path).map_err(failed)?;
        if stamp.size > FILE_BYTES_MAX {
            return Err(format!("{shown} has {} bytes; at most {FILE_BYTES_MAX} are read", stamp.size));
        }
        let bytes = std::fs::read(&self.path).map_err(failed)?;
        let is_csv = self.path.extension().is_some_and(|extension| extension == "csv");
        let fields = if is_csv { self.read_csv(&bytes) } else { self.read_json(&bytes) };
        fields.map(|fields| Table { fields, stamp }).map_err(|reason| format!("{shown}: {reason}"))
    }

    fn read_csv(&self, bytes: &[u8]) -> Result<HashMap<Box<str>, Box<str>>, String> {
        let mut lines = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let header = lines.headers().map_err(|error| error.to_string())?.clone();
        let column = |name: &str| {
            let has = || header.iter().collect::<Vec<_>>().join(", ");
            header
                .iter()
                .position(|known| known == name)
                .ok_or_else(|| format!("there is no column `{name}`; it has {}", has()))
        };
        let key = self.key_field.as_deref().map_or(Ok(0), column)?;
        let taken: Vec<(&str, usize)> =
            self.fields.iter().map(|(name, of)| Ok((name.as_str(), column(of)?))).collect::<Result<_, String>>()?;
        let mut table = HashMap::new();
        for line in lines.records() {
            let line = line.map_err(|error| error.to_string())?;
            let values = taken.iter().filter_map(|(name, column)| {
                let value = line.get(*column).filter(|value| !value.is_empty() && !value.contains('\0'))?;
                Some((*name, serde_json::to_string(value).ok()?))
            });
            if let (Some(key), Ok(Answer::Fields(fields))) = (line.get(key), object(values)) {
                table.insert(key.into(), fields);
            }
        }
        Ok(table)
    }

    fn read_json(&self, bytes: &[u8]) -> Result<HashMap<Box<str>, Box<str>>, String> {
        let picker = FieldPicker::new(&self.fields).ok_or("a field is no pointer")?;
        let mut table = HashMap::new();
        let mut add = |key: &str, item: &RawValue| {
            if let Ok(Answer::Fields(fields)) = picker.pick(item.get().as_bytes()) {
                table.insert(key.into(), fields);
            }
        };
        if let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(bytes) {
            let pointer = self.key_field.as_deref().ok_or("it is an array: `key_field` must say where a key is")?;
            let pointer = Pointer::parse(pointer).map_err(|error| error.to_string())?;
            let (pointers, mut found) = (PointerSet::new(&[pointer]), Fields::default());
            for item in items {
                let text = item.get().as_bytes();
                if pointers.scan(text, Utf8::Checked, &mut found).is_ok()
                    && let Some(key) = found.get(0)
                {
                    add(&key.token(text).text(), item);
                }
            }
        } else {
            let items = serde_json::from_slice::<BTreeMap<String, &RawValue>>(bytes)
                .map_err(|error| format!("it is neither an array nor an object: {error}"))?;
            for (key, item) in items {
                add(&key, item);
            }
        }
        Ok(table)
    }
}

impl Table {
    /// What it says of a key.
    pub(super) fn look_up(&self, key: &str) -> Answer {
        self.fields.get(key).map_or(Answer::Nothing, |fields| Answer::Fields(fields.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, settings: &str) -> Result<Table, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let settings: EnrichSettings =
            toml::from_str(&format!("file = {:?}\n{settings}", path.display().to_string())).unwrap();
        TableForm::new(&settings).unwrap().read()
    }

    fn fields(text: &str) -> Answer {
        Answer::Fields(text.into())
    }

    #[test]
    fn a_csv_file_is_read_by_its_columns() {
        let text = "mint,name, decimals\nA,\"Al, pha\",6\nB,,\n";
        let table = read("t.csv", text, "fields = { title = 'name', places = 'decimals' }").unwrap();
        assert_eq!(table.look_up("A"), fields(r#"{"places":"6","title":"Al, pha"}"#));
        assert_eq!(table.look_up("B"), Answer::Nothing, "nothing is said of it");
        assert_eq!(table.look_up("C"), Answer::Nothing);
        let by_name = read("t.csv", text, "key_field = 'name'\nfields = { mint = 'mint' }").unwrap();
        assert_eq!(by_name.look_up("Al, pha"), fields(r#"{"mint":"A"}"#));
        let error = read("t.csv", text, "fields = { x = 'title' }").unwrap_err();
        assert!(error.contains("no column `title`; it has mint, name, decimals"), "{error}");
    }

    #[test]
    fn a_json_file_is_a_list_or_a_map() {
        let list =
            read("t.json", r#"[{"id":1,"n":"a"},{"id":"2","n":"b"},7]"#, "key_field = '/id'\nfields = { n = '/n' }");
        let list = list.unwrap();
        assert_eq!((list.look_up("1"), list.look_up("2")), (fields(r#"{"n":"a"}"#), fields(r#"{"n":"b"}"#)));
        let map = read("t.json", r#"{"x":{"n":"a"}}"#, "fields = { n = '/n' }").unwrap();
        assert_eq!(map.look_up("x"), fields(r#"{"n":"a"}"#));
        assert!(read("t.json", "[]", "fields = { n = '/n' }").unwrap_err().contains("key_field"));
        assert!(read("t.json", "7", "fields = { n = '/n' }").unwrap_err().contains("neither"));
    }
}
