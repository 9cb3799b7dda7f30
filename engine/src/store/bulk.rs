//! Statements over many rows. Every value is bound; only text written in this crate becomes SQL.

use std::collections::HashMap;

use sqlx::query_builder::{QueryBuilder, Separated};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection};

/// Rows per statement: enough that the cost per statement vanishes, and with the widest table (11 columns)
/// far from SQLite's limit of 32,766 bound values.
const ROWS: usize = 128;

/// Bytes per statement, about: its values are copied twice on their way into SQLite.
const BYTES: usize = 1 << 20;

/// Cuts items into pieces of 128 and, for the rest, of falling powers of two, so that each kind of
/// statement has only eight texts and all of them stay in the connection's statement cache.
fn pieces<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    pieces_by(items, |_| 0)
}

/// Pieces that are no longer than a mebibyte in all, if items of these lengths allow it.
fn pieces_by<T>(mut items: &[T], length: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |item: &&T| {
            bytes += length(item);
            bytes <= BYTES
        };
        let most = items.iter().take(ROWS).take_while(fits).count();
        let size = 1 << most.max(1).min(items.len()).checked_ilog2()?;
        let (piece, rest) = items.split_at(size);
        items = rest;
        Some(piece)
    })
}

/// Rows that `{select} (…)` finds by texts, as `read` makes them of a row, by the text in its first column.
pub(super) async fn by_texts<T>(
    connection: &mut SqliteConnection,
    select: &'static str,
    texts: &[&str],
    read: impl Fn(&SqliteRow) -> sqlx::Result<T>,
) -> sqlx::Result<HashMap<String, T>> {
    let mut found = HashMap::new();
    for piece in pieces(texts) {
        let mut query = with_texts(select, piece);
        for row in query.build().fetch_all(&mut *connection).await? {
            found.insert(row.try_get(0)?, read(&row)?);
        }
    }
    Ok(found)
}

/// `{head} VALUES (…), (…) {tail}` for all items.
pub(super) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    items: &[T],
    bind: impl FnMut(&mut Separated<'_, Sqlite, &'static str>, &T),
) -> sqlx::Result<()> {
    insert_by(connection, head, tail, items, |_| 0, bind).await
}

/// The same for items that may be of many bytes.
pub(super) async fn insert_by<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    items: &[T],
    length: impl Fn(&T) -> usize,
    mut bind: impl FnMut(&mut Separated<'_, Sqlite, &'static str>, &T),
) -> sqlx::Result<()> {
    for piece in pieces_by(items, length) {
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(piece, |mut row, item| bind(&mut row, item));
        query.push(tail);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// `DELETE FROM {table} WHERE {columns} = (…) OR …`, in which `columns` are a key in brackets.
pub(super) async fn delete<T>(
    connection: &mut SqliteConnection,
    table: &'static str,
    columns: &'static str,
    items: &[T],
    mut bind: impl FnMut(&mut Separated<'_, Sqlite, &'static str>, &T),
) -> sqlx::Result<()> {
    for piece in pieces(items) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM ");
        query.push(table);
        for (index, item) in piece.iter().enumerate() {
            query.push(if index == 0 { " WHERE " } else { " OR " });
            query.push(columns).push(" = (");
            bind(&mut query.separated(", "), item);
            query.push(")");
        }
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// `{head} (?, ?, …)` for one piece of texts; `head` ends in `IN`.
fn with_texts(head: &'static str, texts: &[&str]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new(head);
    query.push(" (");
    let mut list = query.separated(", ");
    for text in texts {
        list.push_bind((*text).to_owned());
    }
    query.push(")");
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_powers_of_two_and_lose_nothing() {
        let items: Vec<usize> = (0..300).collect();
        let sizes: Vec<usize> = pieces(&items).map(<[usize]>::len).collect();
        assert_eq!(sizes, [128, 128, 32, 8, 4]);
        assert_eq!(pieces(&items).flatten().copied().collect::<Vec<_>>(), items);
        assert_eq!(pieces(&[0; 0]).count(), 0);
        let heavy = [BYTES * 2, 1, BYTES / 2, BYTES / 2, 7, BYTES];
        let sizes: Vec<usize> = pieces_by(&heavy, |bytes| *bytes)
            .map(<[usize]>::len)
            .collect();
        assert_eq!(sizes, [1, 2, 2, 1]);
    }
}
