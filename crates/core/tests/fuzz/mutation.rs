//! Inputs made from earlier ones.

/// SplitMix64: small, and good enough to choose bytes.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn choose<'s, T>(&mut self, from: &'s [T]) -> &'s T {
        &from[self.below(from.len())]
    }

    /// A range of at most `longest` places within `length`.
    fn range(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = (start + self.below(longest + 1)).min(length);
        start..end
    }
}

/// Pieces that mean something to some reader, or to none.
const COMMON_WORDS: [&str; 28] = [
    "0",
    "-1",
    "00",
    "1e5",
    "1.5",
    "9223372036854775807",
    "9223372036854775808",
    "-0",
    "1e-99999",
    "18446744073709551615",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "\0",
    "\n",
    "é",
    "=",
];

/// The inputs that mutation starts from, and the words it inserts.
pub(crate) struct Corpus {
    inputs: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Corpus {
    /// `words` stand in the target's own language.
    pub(crate) fn new(seeds: &[Vec<u8>], words: &[&str]) -> Self {
        let words = words.iter().chain(&COMMON_WORDS);
        Self {
            inputs: seeds.to_vec(),
            words: words.map(|word| word.as_bytes().to_vec()).collect(),
        }
    }

    pub(crate) fn add(&mut self, input: Vec<u8>) {
        self.inputs.push(input);
    }

    /// An input changed in one to four places.
    pub(crate) fn mutant(&self, random: &mut Random) -> Vec<u8> {
        let mut input = random.choose(&self.inputs).clone();
        for _ in 0..=random.below(4) {
            self.change(&mut input, random);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let length = input.len();
        match random.below(7) {
            0 if length > 0 => input[random.below(length)] ^= 1 << random.below(8),
            1 if length > 0 => input[random.below(length)] = random.next() as u8,
            2 => drop(input.drain(random.range(length, 8))),
            3 => {
                let at = random.below(length + 1);
                let copy = input[random.range(length, 16)].to_vec();
                input.splice(at..at, copy);
            }
            4 => {
                let other = random.choose(&self.inputs);
                let piece = other[random.range(other.len(), 32)].to_vec();
                input.splice(random.range(length, 32), piece);
            }
            5 => {
                let word = random.choose(&self.words).clone();
                replace_value(input, &word, random);
            }
            _ => {
                let word = random.choose(&self.words).clone();
                input.splice(random.range(length, 4), word);
            }
        }
    }
}

/// Puts a word in the place of a whole number, name or text, so that what is around it still
/// parses and the word reaches whoever reads the value.
fn replace_value(input: &mut Vec<u8>, word: &[u8], random: &mut Random) {
    let is_value = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./+".contains(byte);
    let from = random.below(input.len() + 1);
    let Some(start) = input[from..].iter().position(is_value) else {
        return;
    };
    let mut start = from + start;
    while start > 0 && is_value(&input[start - 1]) {
        start -= 1;
    }
    let length = input[start..]
        .iter()
        .take_while(|byte| is_value(byte))
        .count();
    let mut end = start + length;
    // Half of the time a text goes with its quotes and becomes a value of another type.
    let quoted = start > 0 && input[start - 1] == b'"' && input.get(end) == Some(&b'"');
    if quoted && random.below(2) == 0 {
        start -= 1;
        end += 1;
    }
    input.splice(start..end, word.iter().copied());
}
