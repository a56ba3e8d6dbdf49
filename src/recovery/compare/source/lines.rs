//! Lines of JSON in a file, compressed or not, as records.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine as _;

use super::time::Times;
use super::{Request, StoreSource, joined_id};
use crate::config::{TimeUnit, suggestion};
use crate::recovery::compare::mapping::Part;
use crate::recovery::compare::payload::PayloadForm;
use crate::recovery::compare::record::{Record, Source, SourceError};
use crate::scanner::{Fields, Pointer, PointerSet, Token, TokenKind, Utf8};

/// The longest line that is taken for one: far beyond a message's greatest size.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Lines that are looked at to see whether pointers lead anywhere.
const LOOKED_AT: u64 = 100;

/// Where our own sink puts a payload that is no text.
const BASE64: &str = "/payload_base64";

/// A file of lines, each a JSON object. No more than a line is in memory.
#[derive(Debug)]
pub struct LinesSource {
    path: PathBuf,
    request: Request,
    form: PayloadForm,
    parts: Parts,
    /// By pointer: whether one of the first lines has it.
    met: Vec<bool>,
    bytes: u64,
    unit: Option<TimeUnit>,
    notes: Vec<String>,
}

/// Where a line has what.
#[derive(Debug)]
struct Parts {
    set: PointerSet,
    pointers: Vec<String>,
    slots: Vec<(Part, usize)>,
    base64: usize,
}

impl Parts {
    fn of(request: &Request) -> Result<Self, SourceError> {
        let (mut pointers, mut slots) = (Vec::new(), Vec::new());
        for part in Part::ALL {
            let named: Vec<String> = match request.mapping.said(part) {
                Some(named) => named.to_vec(),
                None => vec![format!("/{}", part.column())],
            };
            for pointer in named {
                slots.push((part, pointers.len()));
                pointers.push(pointer);
            }
        }
        let base64 = pointers.len();
        pointers.push(BASE64.to_owned());
        let parsed: Result<Vec<_>, _> = pointers.iter().map(|pointer| Pointer::parse(pointer)).collect();
        let set = PointerSet::new(&parsed.map_err(|error| SourceError::Mapping(error.to_string()))?);
        Ok(Self { set, pointers, slots, base64 })
    }

    fn of_part(&self, wanted: Part) -> impl Iterator<Item = usize> {
        self.slots.iter().filter(move |(part, _)| *part == wanted).map(|(_, slot)| *slot)
    }
}

impl LinesSource {
    /// Looks at a file's first lines, whether the pointers lead anywhere.
    ///
    /// # Errors
    /// When there is no such file, or its lines have no such parts.
    pub fn open(path: &Path, form: PayloadForm, request: Request) -> Result<Self, SourceError> {
        let bytes = match std::fs::metadata(path) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return Err(SourceError::Mapping(format!("{} is no file", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SourceError::Mapping(format!("there is no file {}", path.display())));
            }
            Err(error) => return Err(SourceError::Unreachable(format!("{} cannot be read: {error}", path.display()))),
        };
        let mut source = Self {
            path: path.to_owned(),
            form,
            parts: Parts::of(&request)?,
            met: Vec::new(),
            bytes,
            unit: request.mapping.time_unit(),
            request,
            notes: Vec::new(),
        };
        source.met = source.check()?;
        Ok(source)
    }

    /// Which parts there are is only known line by line; those that were named are in one of the first at least.
    fn check(&self) -> Result<Vec<bool>, SourceError> {
        let (mut lines, mut fields) = (Lines::open(&self.path)?, Fields::default());
        let mut met = vec![false; self.parts.pointers.len()];
        let mut members = BTreeSet::new();
        let mut number = 0;
        while number < LOOKED_AT
            && let Some(line) = lines.next()?
        {
            number += 1;
            if let Err(why) = self.parts.set.scan(line.text, Utf8::Unchecked, &mut fields) {
                if line.whole {
                    return Err(self.damaged(number, &why.to_string()));
                }
                break;
            }
            met.iter_mut().enumerate().for_each(|(slot, met)| *met |= fields.get(slot).is_some());
            if let Ok(object) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line.text) {
                members_of("", &object, &mut members);
            }
        }
        if number == 0 {
            return Ok(met);
        }
        let needed = |part: Part| self.request.mapping.names(part) || part == Part::Id && self.request.needs_id;
        let lacking = self.parts.slots.iter().find(|(part, slot)| needed(*part) && !met[*slot]);
        if let Some((part, slot)) = lacking {
            let hint = suggestion(&self.parts.pointers[*slot], members.iter().map(String::as_str));
            return Err(SourceError::Mapping(format!(
                "none of the first {number} lines of {} has `{}` for `{}`{hint}",
                self.path.display(),
                self.parts.pointers[*slot],
                part.as_str()
            )));
        }
        Ok(met)
    }

    /// Our own sink puts a payload that is no text elsewhere.
    fn reads_base64(&self) -> bool {
        self.request.mapping.said(Part::Payload).is_none()
    }

    fn damaged(&self, line: u64, why: &str) -> SourceError {
        SourceError::Unreachable(format!("line {line} of {} is not JSON: {why}", self.path.display()))
    }
}

/// The pointers to an object's members, and to theirs, for people.
fn members_of(above: &str, object: &serde_json::Map<String, serde_json::Value>, into: &mut BTreeSet<String>) {
    const MEMBERS_MAX: usize = 200;
    for (name, value) in object {
        if into.len() >= MEMBERS_MAX {
            return;
        }
        let pointer = format!("{above}/{}", name.replace('~', "~0").replace('/', "~1"));
        if let serde_json::Value::Object(inner) = value {
            members_of(&pointer, inner, into);
        }
        into.insert(pointer);
    }
}

/// A payload as a line has it. Of a string, to the byte, it is what the string says.
fn payload(token: Token<'_>, form: PayloadForm) -> Cow<'_, [u8]> {
    match (form, token.as_str()) {
        (PayloadForm::Bytes, Some(Cow::Borrowed(text))) => Cow::Borrowed(text.as_bytes()),
        (PayloadForm::Bytes, Some(Cow::Owned(text))) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(token.raw()),
    }
}

impl StoreSource for LinesSource {
    fn has(&self, part: Part) -> bool {
        self.parts.of_part(part).any(|slot| self.met[slot])
            || part == Part::Payload && self.reads_base64() && self.met[self.parts.base64]
    }

    fn payload_form(&self) -> PayloadForm {
        self.form
    }
}

impl Source for LinesSource {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn place_name(&self) -> &'static str {
        "line"
    }

    fn total(&self) -> Option<u64> {
        Some(self.bytes)
    }

    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let (mut lines, mut fields, mut id) = (Lines::open(&self.path)?, Fields::default(), String::new());
        let (mut number, mut cut) = (0, false);
        let time_pointer = self.parts.of_part(Part::Time).next().map_or("", |slot| &self.parts.pointers[slot]);
        let mut times = Times::new(time_pointer, self.unit);
        while let Some(line) = lines.next()? {
            number += 1;
            if line.text.trim_ascii().is_empty() {
                continue;
            }
            if let Err(why) = self.parts.set.scan(line.text, Utf8::Unchecked, &mut fields) {
                if line.whole {
                    return Err(self.damaged(number, &why.to_string()));
                }
                cut = true;
                break;
            }
            let token = |slot: usize| Some(fields.get(slot)?.token(line.text)).filter(|token| !token.is_null());
            let first = |part: Part| self.parts.of_part(part).find_map(token);
            let text = |part: Part| first(part).map(Token::text);
            let (key, monitor, domain, topic, path) =
                (text(Part::Key), text(Part::Monitor), text(Part::Domain), text(Part::Topic), text(Part::Path));
            if !self.request.selection.takes(monitor.as_deref(), domain.as_deref(), topic.as_deref(), path.as_deref()) {
                continue;
            }
            let time = first(Part::Time).map(|token| times.read(&token.text(), token.kind() == TokenKind::Number));
            let Ok(time) = time.unwrap_or(Ok(None)) else { return Err(times.no_unit(&self.name())) };
            let bytes = token(self.parts.base64).filter(|_| self.reads_base64());
            let bytes =
                bytes.and_then(|token| base64::engine::general_purpose::STANDARD.decode(&*token.as_str()?).ok());
            let payload = match (first(Part::Payload), bytes) {
                (Some(token), _) => Some(payload(token, self.form)),
                (None, bytes) => bytes.map(Cow::Owned),
            };
            let parts: Vec<_> = self.parts.of_part(Part::Id).map(|slot| token(slot).map(Token::text)).collect();
            let has_id = joined_id(parts.iter().map(Option::as_deref), &mut id);
            let record = Record {
                place: number,
                done: line.done,
                monitor: monitor.as_deref(),
                topic: topic.as_deref(),
                key: key.as_deref(),
                id: has_id.then_some(id.as_str()),
                time,
                payload: payload.as_deref(),
                repeats_dropped: has_id,
            };
            if take(&record).is_break() {
                return Ok(());
            }
        }
        if only.is_none() {
            times.check(&self.name())?;
        }
        self.notes = cut.then(|| "the last line is not whole: it is left out".to_owned()).into_iter().collect();
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// A line.
struct Line<'a> {
    text: &'a [u8],
    /// Whether it ends as a line does.
    whole: bool,
    /// Bytes of the file that were read for it and all before.
    done: u64,
}

/// Lines of a file, decompressed by what its first bytes say that it is.
struct Lines {
    reader: Box<dyn BufRead>,
    done: Rc<Cell<u64>>,
    text: Vec<u8>,
    path: PathBuf,
}

/// A file of which is known how much was read.
struct Counting {
    file: File,
    done: Rc<Cell<u64>>,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}

impl Lines {
    fn open(path: &Path) -> Result<Self, SourceError> {
        let fail = |error: io::Error| SourceError::Unreachable(format!("{} cannot be read: {error}", path.display()));
        let done = Rc::new(Cell::new(0));
        let file = Counting { file: File::open(path).map_err(fail)?, done: Rc::clone(&done) };
        let mut file = BufReader::with_capacity(BUFFER, file);
        let start = file.fill_buf().map_err(fail)?;
        let reader: Box<dyn BufRead> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file)))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(fail)?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        } else {
            Box::new(file)
        };
        Ok(Self { reader, done, text: Vec::new(), path: path.to_owned() })
    }

    fn next(&mut self) -> Result<Option<Line<'_>>, SourceError> {
        self.text.clear();
        let fail = |why: &str| SourceError::Unreachable(format!("{} cannot be read: {why}", self.path.display()));
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text);
        let read = read.map_err(|error| fail(&error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LINE_BYTES_MAX {
            return Err(fail("a line is longer than 256 MiB"));
        }
        let whole = self.text.ends_with(b"\n");
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        Ok(Some(Line { text, whole, done: self.done.get() }))
    }
}
