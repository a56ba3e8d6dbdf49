//! The settings file: found, read, and parsed with the line of every value.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::layer::Layer;
use super::problem::{ConfigError, Problem};

/// Where settings are looked for when no file is named, in this order.
const USUAL_PLACES: [&str; 2] = ["config/sluice.toml", "/etc/sluice/sluice.toml"];

/// The most a file of settings may have: thousands of monitors fit, and a device file named by mistake ends.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The file to use: the one asked for, or the first of the usual places that exists.
pub(super) fn choose(asked: Option<&Path>, current_dir: &Path) -> Result<Option<PathBuf>, ConfigError> {
    match asked {
        Some(path) if current_dir.join(path).exists() => Ok(Some(path.to_owned())),
        Some(path) => Err(ConfigError::Missing { path: path.to_owned() }),
        None => Ok(USUAL_PLACES.iter().map(PathBuf::from).find(|place| current_dir.join(place).exists())),
    }
}

/// The text of a file of settings or a `.env`; none if there is no such file. `shown` is its name in messages.
pub(super) fn read(path: &Path, shown: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: shown.to_owned(), source };
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20))));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
            let origin = format!("{}:{line}", shown.display());
            Err(ConfigError::Invalid(vec![Problem::at(origin, "the text is not UTF-8 here; save the file as UTF-8")]))
        }
    }
}

/// The layer of a file's text. What its values cannot be goes to `problems`; text that is no TOML at all is an error.
pub(super) fn parse(text: &str, shown: &Path, problems: &mut Vec<Problem>) -> Result<Layer, Problem> {
    let name = shown.display().to_string();
    let line_starts: Vec<usize> = std::iter::once(0)
        .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1))
        .collect();
    let place = |at: usize| format!("{name}:{}", line_starts.partition_point(|start| *start <= at).max(1));
    match DeTable::parse(text) {
        Ok(table) => Ok(Layer::from_toml(table.get_ref(), &place, problems)),
        Err(error) => {
            // Not the error's own `Display`: it quotes the line, which may hold a secret.
            let at = error.span().map_or(text.len(), |span| span.start);
            Err(Problem::at(place(at), format!("not valid TOML: {}", error.message())))
        }
    }
}
