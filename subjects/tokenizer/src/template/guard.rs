//! What rewritten templates call: guards that keep every list and map small, and charge for what the engine does not.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Items, keys and strings in one value, however it shares them.
const MAX_NODES: usize = 100_000;
/// Bytes of all strings in one value.
const MAX_BYTES: usize = 16 << 20;
/// Lists in lists in lists.
const MAX_DEPTH: usize = 16;
/// Bytes that one fuel pays for.
const BYTES_PER_FUEL: usize = 64;

/// What a value weighs when everything it refers to is written out.
#[derive(Default)]
struct Weight {
    n_nodes: usize,
    n_bytes: usize,
}

impl Weight {
    fn add(&mut self, n_bytes: usize) -> Result<(), Error> {
        self.n_nodes += 1;
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.n_nodes > MAX_NODES || self.n_bytes > MAX_BYTES { out_of_fuel() } else { Ok(()) }
    }

    /// What it costs to walk through.
    fn fuel(&self) -> u64 {
        (self.n_nodes / 2 + self.n_bytes / BYTES_PER_FUEL) as u64
    }
}

fn out_of_fuel<T>() -> Result<T, Error> {
    Err(Error::from(ErrorKind::OutOfFuel))
}

fn refuse<T>(what: &str) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()))
}

/// A list or map just made, or a value about to be put into a namespace: copied out of whatever computes it lazily,
/// and refused when it is large, deep or holds something that can change.
pub(super) fn held(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.as_object().is_none() {
        return Ok(value.clone());
    }
    let mut weight = Weight::default();
    let copy = copied(value, 0, &mut weight)?;
    state.consume_fuel(weight.fuel())?;
    Ok(copy)
}

fn copied(value: &Value, depth: usize, weight: &mut Weight) -> Result<Value, Error> {
    weight.add(value.as_str().map_or(0, str::len))?;
    let Some(object) = value.as_object() else { return Ok(value.clone()) };
    if depth == MAX_DEPTH {
        return out_of_fuel();
    }
    match value.kind() {
        _ if is_namespace(value) => refuse("a namespace cannot be put into another value"),
        ValueKind::Seq | ValueKind::Iterable => {
            let Some(items) = object.try_iter() else { return refuse("a value cannot be iterated over") };
            items.map(|item| copied(&item, depth + 1, weight)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        ValueKind::Map => {
            let Some(pairs) = object.try_iter_pairs() else {
                return refuse("a value cannot be iterated over");
            };
            let pairs = pairs.map(|(key, value)| {
                Ok((copied(&key, depth + 1, weight)?, copied(&value, depth + 1, weight)?))
            });
            Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, Error>>()?))
        }
        kind => refuse(&format!("a value of kind {kind} cannot be put into a list, map or namespace")),
    }
}

fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

/// The left side of a comparison, which costs what it weighs.
pub(super) fn compared(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let mut weight = Weight::default();
    weigh(value, 0, &mut weight)?;
    state.consume_fuel(weight.fuel())?;
    Ok(value.clone())
}

fn weigh(value: &Value, depth: usize, weight: &mut Weight) -> Result<(), Error> {
    weight.add(value.as_str().map_or(0, str::len))?;
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth == MAX_DEPTH {
        return out_of_fuel();
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            object.try_iter().into_iter().flatten().try_for_each(|item| weigh(&item, depth + 1, weight))
        }
        ValueKind::Map => object.try_iter_pairs().into_iter().flatten().try_for_each(|(key, value)| {
            weigh(&key, depth + 1, weight)?;
            weigh(&value, depth + 1, weight)
        }),
        _ => Ok(()),
    }
}

/// What is looked for with `in`: in a string it would be written out, in a list compared with every item.
pub(super) fn needle(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.as_object().is_some() {
        return refuse("only strings, numbers and truth values can be looked for with `in`");
    }
    compared(state, value)
}

/// What is indexed: finding a character of a string takes walking there.
pub(super) fn indexed(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    state.consume_fuel((value.as_str().map_or(0, str::len) / BYTES_PER_FUEL) as u64)?;
    Ok(value.clone())
}

/// `namespace(a=1)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands keyword arguments over by value")]
pub(super) fn namespace(state: &State<'_, '_>, values: Kwargs) -> Result<Value, Error> {
    minijinja::functions::namespace(Some(minijinja::value::ValueOrKwargs::from(arguments(state, &values)?)))
}

/// `dict(a=1)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands keyword arguments over by value")]
pub(super) fn dict(state: &State<'_, '_>, values: Kwargs) -> Result<Value, Error> {
    arguments(state, &values)
}

fn arguments(state: &State<'_, '_>, values: &Kwargs) -> Result<Value, Error> {
    let pairs = values.args().map(|name| Ok((name, values.get::<Value>(name)?)));
    let pairs: Vec<(&str, Value)> = pairs.collect::<Result<_, Error>>()?;
    held(state, &Value::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes and bytes, as they are counted on the way to a copy and without one.
    fn weights(value: &Value) -> [Result<(usize, usize), ErrorKind>; 2] {
        let (mut of_copy, mut of_walk) = (Weight::default(), Weight::default());
        let copied = copied(value, 0, &mut of_copy);
        if let Ok(copied) = &copied {
            assert_eq!(copied, value);
        }
        let walked = weigh(value, 0, &mut of_walk);
        [
            copied.map(|_| (of_copy.n_nodes, of_copy.n_bytes)).map_err(|error| error.kind()),
            walked.map(|()| (of_walk.n_nodes, of_walk.n_bytes)).map_err(|error| error.kind()),
        ]
    }

    #[test]
    fn every_item_key_and_string_counts() {
        assert_eq!(weights(&Value::from(7)), [Ok((1, 0)); 2]);
        assert_eq!(weights(&Value::from("abc")), [Ok((1, 3)); 2]);
        let list = Value::from(vec![Value::from("ab"), Value::from(1), Value::from(vec!["c"])]);
        assert_eq!(weights(&list), [Ok((5, 3)); 2]);
        let map = Value::from_pairs([("key", list), ("k", Value::from("v"))]);
        assert_eq!(weights(&map), [Ok((9, 8)); 2]);
        assert_eq!(weights(&Value::make_iterable(|| 0..3)), [Ok((4, 0)); 2]);
    }

    #[test]
    fn nodes_bytes_and_depth_have_their_limits() {
        let refused = [Err(ErrorKind::OutOfFuel); 2];
        let list = |n: usize| Value::from(vec![Value::from(1); n]);
        assert_eq!(weights(&list(MAX_NODES - 1)), [Ok((MAX_NODES, 0)); 2]);
        assert_eq!(weights(&list(MAX_NODES)), refused);
        let half = Value::from("x".repeat(MAX_BYTES / 2));
        assert_eq!(weights(&Value::from(vec![half.clone(), half.clone()])), [Ok((3, MAX_BYTES)); 2]);
        assert_eq!(weights(&Value::from(vec![half.clone(), half, Value::from("x")])), refused);
        let deep = |depth: usize| (0..depth).fold(Value::from(1), |value, _| Value::from(vec![value]));
        let deep_map =
            |depth: usize| (0..depth).fold(Value::from(1), |value, _| Value::from_pairs([("", value)]));
        assert_eq!(weights(&deep(MAX_DEPTH)), [Ok((MAX_DEPTH + 1, 0)); 2]);
        assert_eq!(weights(&deep(MAX_DEPTH + 1)), refused);
        assert_eq!(weights(&deep_map(MAX_DEPTH)), [Ok((2 * MAX_DEPTH + 1, 0)); 2]);
        assert_eq!(weights(&deep_map(MAX_DEPTH + 1)), refused);
        // Keys may be lists, too.
        let key = |depth: usize| Value::from_pairs([(deep(depth), 1)]);
        assert_eq!(weights(&key(MAX_DEPTH - 1)), [Ok((MAX_DEPTH + 2, 0)); 2]);
        assert_eq!(weights(&key(MAX_DEPTH)), refused);
    }

    #[test]
    fn two_nodes_or_64_bytes_cost_one() {
        let fuel = |n_nodes, n_bytes| Weight { n_nodes, n_bytes }.fuel();
        assert_eq!([fuel(0, 0), fuel(6, 0), fuel(7, 63), fuel(0, 640), fuel(6, 640)], [0, 3, 3, 10, 13]);
    }
}
