//! A mapping as a tree of keys, and the walk that finds its values.

use super::keys::Keys;
use super::{Finish, Found, How, LogFormat, Path, Spelling, Step};
use crate::format::Stop;
use crate::json::{self, Scanner, Text};

/// Where a value stands in the scanner's bytes. Never null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    /// Without its quotes, if it is a string.
    pub text: Text,
    /// The first byte of its JSON: the kind of value.
    pub first: u8,
    /// Whether it stands for none, as the format says.
    pub is_nothing: bool,
}

impl Value {
    pub fn is_string(self) -> bool {
        self.first == b'"'
    }

    /// Not in quotes.
    pub fn is_number(self) -> bool {
        matches!(self.first, b'-' | b'0'..=b'9')
    }

    /// Its JSON, with the quotes of a string.
    pub fn json(self) -> std::ops::Range<usize> {
        let range = self.text.range();
        match self.is_string() {
            true => range.start - 1..range.end + 1,
            false => range,
        }
    }
}

/// Values that an object must have, one of these texts if there are any.
pub(crate) type NeededSlots = Vec<(u16, Vec<Box<str>>)>;

/// What an object has that may be of another format, or an envelope: see [`Format::rivals`](crate::format::Format::rivals).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rivals {
    /// Any of these top-level keys.
    pub keys: &'static Keys,
    /// All values of any of these lines.
    pub lines: &'static [NeededSlots],
}

#[derive(Debug, Default)]
struct Node {
    keys: Keys,
    elements: Vec<(usize, u16)>,
    last: Option<u16>,
    slot: Option<u16>,
}

/// A mapping made ready to walk objects.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub family: Box<str>,
    pub product: Box<str>,
    pub class: i64,
    pub nothing: &'static [&'static str],
    /// Bits: the lengths of these texts below 64, and of the empty one.
    nothing_lengths: u64,
    longest_nothing: usize,
    pub needs: Vec<NeededSlots>,
    /// See [`Rivals`].
    pub rival_keys: Keys,
    pub rival_lines: Vec<NeededSlots>,
    /// The paths of `needs`, for messages.
    pub required: Box<str>,
    pub uid: Vec<u16>,
    pub uid_with_content: bool,
    pub finding: Vec<u16>,
    pub fields: Vec<(u16, usize, How)>,
    pub fixed: Vec<(usize, Box<str>)>,
    pub reads: Vec<u16>,
    pub finish: Option<Finish>,
    pub words: &'static [&'static str],
    /// The numbers of their values.
    word_slots: Vec<Option<u16>>,
    pub counts: &'static [usize],
    pub inside: Vec<(u16, Compiled)>,
    /// The first path that fills `time`, for messages.
    pub time: Box<str>,
    nodes: Vec<Node>,
    slots: u16,
    /// Those of the table itself, which come first.
    pub own: u16,
    spelling: Spelling,
}

impl Compiled {
    pub fn new(mapping: &LogFormat) -> Result<Self, String> {
        let time = mapping.fields.iter().find(|(_, column, _)| *column == 0);
        let mut tree = Self {
            family: mapping.family.into(),
            product: mapping.product.into(),
            class: mapping.class,
            nothing: mapping.nothing,
            nothing_lengths: mapping
                .nothing
                .iter()
                .fold(1, |bits, word| bits | 1 << word.len().min(63)),
            longest_nothing: mapping
                .nothing
                .iter()
                .map(|word| word.len())
                .max()
                .unwrap_or(0),
            needs: vec![],
            rival_keys: Keys::default(),
            rival_lines: vec![],
            required: required(mapping).into(),
            uid: vec![],
            uid_with_content: mapping.uid_with_content,
            finding: vec![],
            fields: vec![],
            fixed: vec![],
            reads: vec![],
            finish: mapping.finish,
            words: mapping.words,
            word_slots: vec![],
            counts: mapping.counts,
            inside: vec![],
            time: time.map_or("time", |(path, ..)| path).into(),
            nodes: vec![Node::default()],
            slots: 0,
            own: 0,
            spelling: mapping.spelling,
        };
        for line in mapping.needs {
            let needs = tree.needed(line)?;
            tree.needs.push(needs);
        }
        for path in mapping.uid {
            let slot = tree.slot(path)?;
            tree.uid.push(slot);
        }
        for path in mapping.finding {
            let slot = tree.slot(path)?;
            tree.finding.push(slot);
        }
        for (path, column, how) in mapping.fields {
            let slot = tree.slot(path)?;
            tree.fields.push((slot, *column, *how));
        }
        for path in mapping.reads {
            let slot = tree.slot(path)?;
            tree.reads.push(slot);
        }
        for (path, inner) in mapping.inside {
            let slot = tree.slot(path)?;
            tree.inside.push((slot, Self::new(inner)?));
        }
        tree.own = tree.slots;
        tree.word_slots = tree.words.iter().map(|name| tree.named(name)).collect();
        tree.fixed = mapping
            .fixed
            .iter()
            .map(|(c, t)| (*c, (*t).into()))
            .collect();
        Ok(tree)
    }

    pub fn needed(&mut self, line: &[super::Need]) -> Result<NeededSlots, String> {
        let needs = line.iter().map(|(path, texts)| {
            let texts = texts.iter().map(|text| (*text).into()).collect();
            Ok((self.slot(path)?, texts))
        });
        needs.collect()
    }

    /// The number under which the value at the path will be found.
    fn slot(&mut self, path: &str) -> Result<u16, String> {
        let mut at = 0;
        for step in Path::parse(path)?.0 {
            at = self.child(at, &step) as usize;
        }
        let slot = *self.nodes[at].slot.get_or_insert(self.slots);
        self.slots = self.slots.max(slot + 1);
        Ok(slot)
    }

    fn child(&mut self, at: usize, step: &Step) -> u16 {
        let new = self.nodes.len() as u16;
        let node = &mut self.nodes[at];
        let child = match step {
            Step::Key(key) => {
                let child = node.keys.get_or_insert(key.as_bytes(), || new);
                for other in self.spelling.others(key) {
                    node.keys.get_or_insert(&other, || child);
                }
                child
            }
            Step::Last => *node.last.get_or_insert(new),
            Step::Element(index) => {
                let known = node.elements.iter().find(|(one, _)| one == index);
                match known.map(|(_, child)| *child) {
                    Some(child) => child,
                    None => {
                        node.elements.push((*index, new));
                        new
                    }
                }
            }
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The top-level keys that are looked at.
    pub fn keys(&self) -> &Keys {
        &self.nodes[0].keys
    }

    /// Number of the value at a top-level key, for formats that are no JSON.
    pub fn named(&self, key: &str) -> Option<u16> {
        let node = self.nodes[0].keys.get(key.as_bytes())?;
        self.nodes[node as usize].slot
    }

    /// Notes where the values of a text stand that are parted by commas. Returns how many there are: if not as many as
    /// there should be, which is which is not known.
    pub fn split(&self, s: &Scanner, text: Text, found: &mut Found) -> usize {
        self.clear(found);
        let mut at = text.range().start;
        let mut count = 0;
        for word in s.slice(text).split(|byte| *byte == b',') {
            if let Some(slot) = self.word_slots.get(count).copied().flatten() {
                let is_escaped = text.is_escaped() && word.contains(&b'\\');
                let text = Text::new(at, at + word.len(), is_escaped);
                found[slot as usize] = Some(self.word(s, text));
            }
            at += word.len() + 1;
            count += 1;
        }
        count
    }

    /// A word of a line.
    #[inline]
    pub fn word(&self, s: &Scanner, text: Text) -> Value {
        self.noted(s, text, b'"')
    }

    #[inline]
    fn noted(&self, s: &Scanner, text: Text, first: u8) -> Value {
        Value {
            text,
            first,
            is_nothing: self.is_nothing(s, text),
        }
    }

    /// Whether the text stands for no value.
    #[inline]
    fn is_nothing(&self, s: &Scanner, text: Text) -> bool {
        let slice = s.slice(text);
        let is_one = |text: &[u8]| self.nothing.iter().any(|word| word.as_bytes() == text);
        match text.is_escaped() {
            false => {
                self.nothing_lengths >> slice.len().min(63) & 1 == 1
                    && (slice.is_empty() || is_one(slice))
            }
            // Each character may be an escape of six.
            true => slice.len() <= 6 * self.longest_nothing && is_one(&s.value(text)),
        }
    }

    /// Empties `found` and makes room for all values.
    pub fn clear(&self, found: &mut Found) {
        found.clear();
        found.resize(self.slots as usize, None);
    }

    /// Reads the object at the scanner and notes where the wanted values stand.
    ///
    /// # Errors
    /// If it is no JSON, or has what `rivals` names.
    pub fn walk(&self, s: &mut Scanner, found: &mut Found, rivals: Rivals) -> Result<(), Stop> {
        self.clear(found);
        s.object(|s, key| match self.nodes[0].keys.get(key) {
            Some(child) => Ok(self.value(s, child, found)?),
            None if rivals.keys.has(key) => Err(Stop::NotThis),
            None => Ok(s.skip()?),
        })?;
        match self.has_all_of_any(s, found, rivals.lines) {
            true => Err(Stop::NotThis),
            false => Ok(()),
        }
    }

    fn value(&self, s: &mut Scanner, node: u16, found: &mut [Option<Value>]) -> json::Result<()> {
        let node = &self.nodes[node as usize];
        let first = s.peek();
        let start = s.position();
        let text = match first {
            b'"' => s.text()?,
            b'{' if !node.keys.is_empty() => {
                s.object(|s, key| match node.keys.get(key) {
                    Some(child) => self.value(s, child, found),
                    None => s.skip(),
                })?;
                None
            }
            b'[' if node.last.is_some() || !node.elements.is_empty() => {
                self.elements(s, node, found)?;
                None
            }
            _ => {
                s.skip()?;
                None
            }
        };
        if let Some(slot) = node.slot
            && first != b'n'
            && let Some(place @ None) = found.get_mut(slot as usize)
        {
            let text = text.unwrap_or_else(|| Text::new(start, s.position(), false));
            *place = Some(self.noted(s, text, first));
        }
        Ok(())
    }

    fn elements(
        &self,
        s: &mut Scanner,
        node: &Node,
        found: &mut [Option<Value>],
    ) -> json::Result<()> {
        let (mut index, mut last) = (0, None);
        s.array(|s| {
            s.peek();
            last = Some(s.mark());
            let child = node.elements.iter().find(|(one, _)| *one == index);
            index += 1;
            match child {
                Some((_, child)) => self.value(s, *child, found),
                None => s.skip(),
            }
        })?;
        // The last one is known only at the end.
        if let (Some(child), Some(mark)) = (node.last, last) {
            let after = s.mark();
            s.reset(mark);
            self.value(s, child, found)?;
            s.reset(after);
        }
        Ok(())
    }
}

fn required(mapping: &LogFormat) -> String {
    let line = |line: &&[super::Need]| {
        let need = |(path, texts): &super::Need| match texts {
            [] => (*path).to_owned(),
            texts => format!("{path} ({})", texts.join(", ")),
        };
        line.iter().map(need).collect::<Vec<_>>().join(", ")
    };
    let lines: Vec<_> = mapping.needs.iter().map(line).collect();
    lines.join("; or ")
}
