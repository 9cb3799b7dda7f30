//! What was found of texts, remembered across batches.

use datafusion::arrow::array::{Array, StringViewArray};
use hashbrown::HashMap;

/// Texts remembered, about 100 bytes each; when there are more, the memory starts anew.
const REMEMBERED: usize = 65_536;

/// By text a number, by number what was found. Number 0 stands for null, of which nothing is found.
#[derive(Debug)]
pub struct Memo<T> {
    numbers: HashMap<Box<str>, u32>,
    pub found: Vec<T>,
}

impl<T: Default> Default for Memo<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            found: vec![T::default()],
        }
    }
}

impl<T> Memo<T> {
    /// Whether the next call of [`numbers`](Self::numbers) starts anew.
    pub fn is_full(&self) -> bool {
        self.numbers.len() > REMEMBERED
    }

    /// Per row its text's number; none when the column has no value at all.
    pub fn numbers(
        &mut self,
        column: &StringViewArray,
        mut find: impl FnMut(&str) -> T,
    ) -> Option<Vec<u32>> {
        if self.is_full() {
            self.numbers.clear();
            self.found.truncate(1);
        }
        if column.null_count() == column.len() {
            return None;
        }
        // Events of one caller come in runs, and equal views of one array are equal text.
        let mut last = (0u128, 0u32);
        let mut of_row = Vec::with_capacity(column.len());
        for (row, view) in column.views().iter().enumerate() {
            if column.is_null(row) {
                of_row.push(0);
                continue;
            }
            if last.1 == 0 || last.0 != *view {
                let text = column.value(row);
                let number = match self.numbers.get(text) {
                    Some(number) => *number,
                    None => {
                        let number = self.found.len() as u32;
                        self.found.push(find(text));
                        self.numbers.insert(text.into(), number);
                        number
                    }
                };
                last = (*view, number);
            }
            of_row.push(last.1);
        }
        Some(of_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_up_once_until_there_are_too_many() {
        let mut memo: Memo<usize> = Memo::default();
        let batch = StringViewArray::from_iter([Some("a"), None, Some("bb"), Some("a"), Some("a")]);
        let mut asked = vec![];
        for _ in 0..2 {
            let numbers = memo.numbers(&batch, |text| {
                asked.push(text.to_owned());
                text.len()
            });
            assert_eq!(numbers, Some(vec![1, 0, 2, 1, 1]));
        }
        assert_eq!(
            (asked, &memo.found),
            (vec!["a".into(), "bb".into()], &vec![0, 1, 2])
        );
        let many = (0..=REMEMBERED).map(|n| Some(n.to_string()));
        memo.numbers(&StringViewArray::from_iter(many), str::len);
        assert!(memo.is_full());
        let numbers = memo.numbers(&batch, str::len);
        assert_eq!(
            (numbers, memo.found),
            (Some(vec![1, 0, 2, 1, 1]), vec![0, 1, 2])
        );
        let nothing = StringViewArray::from_iter([None::<&str>]);
        assert_eq!(Memo::<usize>::default().numbers(&nothing, str::len), None);
    }
}
